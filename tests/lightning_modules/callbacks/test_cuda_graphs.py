from typing import Any

import pytest
import torch
from torch import Tensor, nn

from kernels import LSTM
from kernels.dispatch import Choice
from lightning_modules.callbacks import cuda_graphs
from lightning_modules.callbacks.cuda_graphs import Graphed, has_gpu_kernel
from lightning_modules.networks.language_model import CharacterModel
from lightning_modules.networks.recurrent_classifier import RecurrentClassifier
from tests.kernels.all_cells import Leaky


@pytest.fixture
def captured(monkeypatch: pytest.MonkeyPatch) -> list[list[torch.Size]]:
    """The shapes of each graph; the function that is captured runs itself instead."""
    shapes: list[list[torch.Size]] = []

    def capture(module: nn.Module, tensors: list[Tensor]) -> nn.Module:
        shapes.append([tensor.shape for tensor in tensors])
        return module

    monkeypatch.setattr(cuda_graphs, "capture", capture)
    return shapes


def test_a_shape_is_captured_when_it_is_seen_for_the_third_time(captured: list[Any]) -> None:
    network = RecurrentClassifier(vocab_size=3, num_classes=2, hidden_size=8)
    tokens, graphed = torch.randint(0, 3, (4, 5)), Graphed(network)
    for graphs in (0, 0, 1, 1):
        torch.testing.assert_close(graphed(tokens), network(tokens), rtol=0, atol=0)
        assert len(captured) == graphs
    graphed(tokens)[0].sum().backward()
    assert network.layer.weight_hh_l0.grad is not None
    for length in range(6, 6 + 2 * cuda_graphs.AT_MOST):
        for _ in range(3):
            graphed(torch.randint(0, 3, (4, length)))
    assert len(captured) == cuda_graphs.AT_MOST


def test_a_state_that_is_none_is_another_graph(captured: list[Any]) -> None:
    network = CharacterModel("abc", hidden_size=8)
    tokens, graphed = torch.randint(0, 3, (2, 5)), Graphed(network)
    state = None
    for _ in range(6):
        for given in (None, state):
            logits, after = graphed(tokens, given)
            expected, expected_after = network(tokens, given)
            torch.testing.assert_close((logits, after), (expected, expected_after), rtol=0, atol=0)
        state = tuple(value.detach() for value in after)
    state_shape = torch.Size([2, 2, 8])
    assert captured == [[tokens.shape], [tokens.shape, state_shape, state_shape]]


def test_evaluation_is_not_captured(captured: list[Any]) -> None:
    network = RecurrentClassifier(vocab_size=3, num_classes=2, hidden_size=8)
    tokens, graphed = torch.randint(0, 3, (4, 5)), Graphed(network)
    for _ in range(5):
        with torch.no_grad():
            graphed(tokens)
    network.eval()
    for _ in range(5):
        graphed(tokens)
    assert not captured


@pytest.mark.parametrize("backend", ["triton", "torchscript", "native"])
def test_networks_without_a_kernel_are_left_alone(backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(LSTM, "choose", lambda layer, **case: Choice(backend, ""))
    assert has_gpu_kernel(RecurrentClassifier(vocab_size=3, num_classes=2)) == (backend == "triton")
    assert not has_gpu_kernel(RecurrentClassifier(vocab_size=3, num_classes=2, layer=Leaky))
    assert not has_gpu_kernel(nn.Linear(2, 3))


@pytest.mark.gpu
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_graph_computes_the_same(precision: str) -> None:
    torch.manual_seed(0)
    network = CharacterModel("abc", hidden_size=64, dropout=0.3).cuda()
    tokens, graphed, state = torch.randint(0, 3, (2, 5), device="cuda"), Graphed(network), None
    with torch.autocast("cuda", torch.bfloat16, precision == "bfloat16"):
        for _ in range(6):
            generator = torch.cuda.get_rng_state()
            expected = torch.autograd.grad(network(tokens, state)[0].sum(), list(network.parameters()))
            torch.cuda.set_rng_state(generator)
            logits, after = graphed(tokens, state)
            network.zero_grad()
            logits.sum().backward()
            found = [parameter.grad for parameter in network.parameters()]
            torch.testing.assert_close(found, list(expected), rtol=0, atol=0)
            state = tuple(value.detach().clone() for value in after)
