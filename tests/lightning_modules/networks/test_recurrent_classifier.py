"""The sequence classifier's network: initial weights, the last state, any layer."""

import math
from functools import partial

import pytest
import torch
from torch import nn

from kernels import LSTM, RNN, LayerNormLSTM, PeepholeLSTM
from lightning_modules.networks.recurrent_classifier import RecurrentClassifier


@pytest.mark.parametrize("layer", [LSTM, RNN, PeepholeLSTM, partial(PeepholeLSTM, peephole="diagonal"), LayerNormLSTM])
def test_initial_weights(layer: type[nn.Module]) -> None:
    """Matrices, head and embedding: normal, variance 2 / fan-in. Biases: zero. Other vectors: the layer's own."""
    torch.manual_seed(0)
    network = RecurrentClassifier(50, 40, layer, embedding_size=64, hidden_size=128)
    for name, parameter in network.named_parameters():
        if "bias" in name:
            assert not parameter.any(), name
        elif "gain" in name:
            assert (parameter == 1).all(), name
        elif "peephole" in name:
            assert parameter.abs().max() <= 1 / math.sqrt(128)
        else:
            fan_in = 50 if "embedding" in name else parameter.shape[1]
            std = math.sqrt(2 / fan_in)
            assert parameter.std().item() == pytest.approx(std, rel=0.05), name
            assert parameter.abs().max() > 2.5 * std, f"{name} is not uniform"


def test_logits_are_the_head_on_the_last_state() -> None:
    network = RecurrentClassifier(5, 3, embedding_size=4, hidden_size=6)
    tokens = torch.randint(0, 5, (2, 7))
    states, _ = network.layer(network.embedding(tokens.T))
    torch.testing.assert_close(network(tokens), network.head(states[-1]))


def test_dropout_acts_in_training_alone() -> None:
    network = RecurrentClassifier(5, 3, dropout=1.0)
    tokens = torch.randint(0, 5, (2, 7))
    assert not network(tokens).any(), "all units dropped, and the head's bias is zero"
    assert network.eval()(tokens).any()


@pytest.mark.parametrize(("sizes", "missing"), [((None, 2), "vocab_size"), ((3, None), "num_classes")])
def test_sizes_must_be_defined(sizes: tuple[int | None, int | None], missing: str) -> None:
    with pytest.raises(ValueError, match=f"needs {missing}, which the data module does not define"):
        RecurrentClassifier(*sizes)


@pytest.mark.parametrize("layer", [partial(LSTM, num_layers=2, bidirectional=True), LSTM])
def test_two_directions_are_read_to_their_ends(layer: type[nn.Module]) -> None:
    """Against torch.nn: the state after the last symbol, and of the other direction the one after the first."""
    network = RecurrentClassifier(5, 3, layer, embedding_size=4, hidden_size=6, num_layers=2, bidirectional=True)
    outside = nn.LSTM(4, 6, num_layers=2, bidirectional=True)
    outside.load_state_dict(network.layer.state_dict())
    tokens = torch.randint(0, 5, (2, 7))
    states, _ = outside(network.embedding(tokens.T))
    torch.testing.assert_close(network(tokens), network.head(torch.cat([states[-1, :, :6], states[0, :, 6:]], 1)))


def test_dropout_between_layers_is_the_networks() -> None:
    assert RecurrentClassifier(5, 3, dropout=0.5, num_layers=2).layer.dropout == 0.5
    with pytest.raises(ValueError, match=r"acts between layers, and there is only one; set --model\.network\.dropout"):
        RecurrentClassifier(5, 3, partial(LSTM, dropout=0.5))
