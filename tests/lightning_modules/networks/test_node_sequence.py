"""The recurrent network over the nodes of a graph: it reads each graph by itself, in order, and no edge."""

from functools import partial
from typing import Any

import pytest
import torch

from datamodules.digits import Digits
from kernels import GRU, LSTM
from lightning_modules.networks.gine import GINE
from lightning_modules.networks.node_sequence import NodeSequence


def test_it_reads_each_graph_to_its_end() -> None:
    network = NodeSequence(3, 1, 2, layer=GRU, input_size=4, hidden_size=5).eval()
    x, none = torch.randn(7, 3), torch.zeros(2, 0).long()
    batch = torch.tensor([0, 0, 0, 0, 0, 1, 1])
    together = network(x, none, torch.zeros(0, 1), batch, 2)
    for number, part in enumerate((x[:5], x[5:])):
        alone = network(part, none, torch.zeros(0, 1), torch.zeros(len(part)).long(), 1)
        torch.testing.assert_close(together[number], alone[0])


@pytest.mark.parametrize("options", [{"bidirectional": True}, {"proj_size": 2}])
def test_the_outputs_of_a_layer_may_be_wider_or_narrower(options: dict[str, Any]) -> None:
    network = NodeSequence(3, 1, 2, layer=partial(LSTM, **options), input_size=4, hidden_size=5).eval()
    x, none = torch.randn(6, 3), torch.zeros(2, 0).long()
    together = network(x, none, torch.zeros(0, 1), torch.tensor([0, 0, 0, 0, 1, 1]), 2)
    alone = network(x[4:], none, torch.zeros(0, 1), torch.tensor([0, 0]), 1)
    torch.testing.assert_close(together[1], alone[0])


def test_only_the_recurrent_network_cares_for_the_numbers_of_the_nodes() -> None:
    torch.manual_seed(0)
    chosen = torch.arange(8)
    plain, moved = (Digits(order=order).examples("test", chosen) for order in ("scan", "random"))
    sizes = (Digits.num_features, Digits.num_edge_features, Digits.num_outputs)
    for network, changes in ((GINE(*sizes, hidden_size=32), False), (NodeSequence(*sizes), True)):
        network.eval()
        with torch.no_grad():
            difference = (network(*plain[:-1]) - network(*moved[:-1])).abs().max()
        assert (difference > 1e-3) == changes, difference


def test_both_networks_of_the_configs_have_as_many_weights() -> None:
    sizes = (Digits.num_features, Digits.num_edge_features, Digits.num_outputs)
    counts = [
        sum(weight.numel() for weight in network.parameters())
        for network in (GINE(*sizes, hidden_size=32), NodeSequence(*sizes))
    ]
    assert counts[0] == pytest.approx(counts[1], rel=0.01)
