from pathlib import Path
from typing import Any

import pytest
import torch
from pytorch_lightning import Trainer
from torch import Tensor, nn
from torch.utils.data import DataLoader

from kernels import LSTM
from kernels.dispatch import Choice
from lightning_modules.callbacks import cuda_graphs
from lightning_modules.callbacks.cuda_graphs import CudaGraphs, Graphed, is_capturable
from lightning_modules.cli.quiet import quiet
from lightning_modules.networks.graph_lstm import GraphLSTM
from lightning_modules.networks.language_model import CharacterModel
from lightning_modules.networks.recurrent_classifier import RecurrentClassifier
from lightning_modules.training_system import Split, TrainingSystem
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


def call(graphed: Graphed, *arguments: Any) -> Any:
    """Return the results for a new batch."""
    graphed.called = False
    return graphed(*arguments)


def test_a_shape_is_captured_when_it_is_seen_for_the_third_time(captured: list[Any]) -> None:
    network = RecurrentClassifier(vocab_size=3, num_classes=2, hidden_size=8)
    tokens, graphed = torch.randint(0, 3, (4, 5)), Graphed(network)
    for graphs in (0, 0, 1, 1):
        torch.testing.assert_close(call(graphed, tokens), network(tokens), rtol=0, atol=0)
        assert len(captured) == graphs
    call(graphed, tokens)[0].sum().backward()
    assert network.layer.weight_hh_l0.grad is not None
    for length in range(6, 6 + 2 * cuda_graphs.MOST_GRAPHS):
        for _ in range(3):
            call(graphed, torch.randint(0, 3, (4, length)))
    assert len(captured) == cuda_graphs.MOST_GRAPHS


def test_a_state_that_is_none_is_another_graph(captured: list[Any]) -> None:
    network = CharacterModel("abc", hidden_size=8)
    tokens, graphed = torch.randint(0, 3, (2, 5)), Graphed(network)
    state = None
    for _ in range(6):
        for given in (None, state):
            logits, after = call(graphed, tokens, given)
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
            call(graphed, tokens)
    network.eval()
    for _ in range(5):
        call(graphed, tokens)
    assert not captured


@pytest.mark.parametrize("backend", ["triton", "torchscript", "native"])
def test_networks_without_a_kernel_are_left_alone(backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(LSTM, "choose", lambda layer, **case: Choice(backend, ""))
    assert is_capturable(RecurrentClassifier(vocab_size=3, num_classes=2)) == (backend == "triton")
    assert not is_capturable(RecurrentClassifier(vocab_size=3, num_classes=2, layer=Leaky))
    assert not is_capturable(nn.Linear(2, 3))


def test_only_plain_networks_that_say_so_are_captured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(LSTM, "choose", lambda layer, **case: Choice("triton", ""))
    network = RecurrentClassifier(vocab_size=3, num_classes=2, hidden_size=8)
    assert is_capturable(network)
    assert not is_capturable(GraphLSTM(vocab_size=3, num_classes=2))
    assert not is_capturable(torch.compile(network, backend="eager"))
    network.compile(backend="eager")
    assert not is_capturable(network)


def test_the_second_call_of_a_batch_and_named_arguments_are_not_graphs(captured: list[Any]) -> None:
    network = RecurrentClassifier(vocab_size=3, num_classes=2, hidden_size=8)
    tokens, graphed = torch.randint(0, 3, (4, 5)), Graphed(network)
    for _ in range(3):
        call(graphed, tokens)
    (key,) = graphed.graphs
    graphed.graphs[key] = lambda *tensors: "graph"
    assert call(graphed, tokens) == "graph"
    assert graphed(tokens).shape == (4, 2)
    graphed.called = False
    assert graphed(tokens=tokens).shape == (4, 2)


@pytest.mark.parametrize("change", ["frozen", "moved"])
def test_weights_that_are_frozen_or_moved_are_another_graph(captured: list[Any], change: str) -> None:
    network = RecurrentClassifier(vocab_size=3, num_classes=2, hidden_size=8)
    tokens, graphed = torch.randint(0, 3, (4, 5)), Graphed(network)
    for graphs in (1, 2):
        for _ in range(4):
            call(graphed, tokens)
        assert len(captured) == graphs
        if change == "frozen":
            network.embedding.requires_grad_(False)
        else:
            network.embedding.weight.data = network.embedding.weight.data.clone()


def test_a_network_with_hooks_inside_is_not_captured(captured: list[Any]) -> None:
    network = RecurrentClassifier(vocab_size=3, num_classes=2, hidden_size=8)
    tokens, graphed = torch.randint(0, 3, (4, 5)), Graphed(network)
    for hook in (network.head.register_forward_hook(print), network.head.weight.register_hook(torch.neg)):
        for _ in range(4):
            call(graphed, tokens)
        hook.remove()
        assert not captured
    call(graphed, tokens)
    assert captured


class Parts(TrainingSystem):
    graphed = False

    def step(self, batch: Tensor, split: Split) -> Tensor:
        return self.network(batch)[:, 0].sum()

    def forward(self, tokens: Tensor) -> Tensor:
        return self.network(tokens)

    def on_train_start(self) -> None:
        if self.graphed:
            self.network.forward = Graphed(self.network)  # type: ignore[assignment]

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), 0.1)


@pytest.mark.parametrize("parts", [1, 3])
def test_gradients_of_several_batches_add_up(parts: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def capture(module: nn.Module, tensors: list[Tensor]) -> nn.Module:
        """Return gradients as graphs do: each in memory of its own that the next pass writes over."""
        for parameter in module.parameters():
            own = torch.zeros_like(parameter)
            parameter.register_hook(lambda gradient, own=own: own.copy_(gradient).detach())
        return module

    monkeypatch.setattr(cuda_graphs, "capture", capture)
    batches = [torch.randint(0, 3, (4, 5), generator=torch.Generator().manual_seed(n)) for n in range(12)]
    results = []
    quiet()
    for graphed in (False, True):
        torch.manual_seed(0)
        system = Parts(RecurrentClassifier(vocab_size=3, num_classes=2, hidden_size=8))
        system.graphed = graphed
        trainer = Trainer(
            max_epochs=1, accumulate_grad_batches=parts, logger=False, enable_checkpointing=False, accelerator="cpu",
            enable_progress_bar=False, enable_model_summary=False, default_root_dir=tmp_path, callbacks=[CudaGraphs()],
        )  # fmt: skip
        trainer.fit(system, DataLoader(batches, batch_size=None))
        assert "forward" not in vars(system.network)
        results.append(list(system.parameters()))
    torch.testing.assert_close(results[1], results[0], rtol=0, atol=0)


def test_nothing_is_left_after_an_exception(captured: list[Any]) -> None:
    system = Parts(RecurrentClassifier(vocab_size=3, num_classes=2, hidden_size=8))
    system.network.forward = Graphed(system.network)  # type: ignore[assignment]
    CudaGraphs().on_exception(Trainer(accelerator="cpu", logger=False), system, KeyboardInterrupt())
    assert "forward" not in vars(system.network)


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
            logits, after = call(graphed, tokens, state)
            network.zero_grad()
            logits.sum().backward()
            found = [parameter.grad for parameter in network.parameters()]
            torch.testing.assert_close(found, list(expected), rtol=0, atol=0)
            state = tuple(value.detach().clone() for value in after)
