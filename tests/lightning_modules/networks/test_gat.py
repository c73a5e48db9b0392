"""Attention weights of GAT and GATv2, against PyG's layers."""

from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.functional import elu
from torch_geometric.nn import GATConv, GATv2Conv

from datamodules.six_nodes import six_nodes
from lightning_modules.networks.gat import GAT

F, C = 7, 3


def test_attention_sums_to_one_and_is_uniform_for_a_zero_vector() -> None:
    torch.manual_seed(0)
    network, x = GAT(F, C).eval(), torch.randn(6, F)
    edges, weights = network.attention(x, six_nodes())
    sums = torch.zeros(6, weights.shape[1]).index_add_(0, edges[1], weights)
    torch.testing.assert_close(sums, torch.ones_like(sums))
    nn.init.zeros_(network.first.att_src)
    nn.init.zeros_(network.first.att_dst)
    edges, weights = network.attention(x, six_nodes())
    torch.testing.assert_close(weights, (1 / torch.bincount(edges[1]).float())[edges[1], None].expand_as(weights))


@pytest.mark.parametrize(("version", "theirs", "ends"), [(1, GATConv, ["lin"]), (2, GATv2Conv, ["lin_l", "lin_r"])])
def test_outputs_equal_pygs(version: Any, theirs: Any, ends: list[str]) -> None:
    torch.manual_seed(0)
    network, x = GAT(F, C, version=version).eval(), torch.randn(6, F)
    layer, state = theirs(F, 8, heads=8), network.first.state_dict()
    for name, projection in zip(ends, network.projections, strict=True):
        state[f"{name}.weight"] = projection.weight.T
        if version == 2:  # PyG adds biases to the paper's W
            state[f"{name}.bias"] = torch.zeros(64)
    layer.load_state_dict(state)
    torch.testing.assert_close(network.hidden(x, six_nodes()), elu(layer(x, six_nodes())))


def test_only_gatv2_ranks_neighbours_differently_per_node() -> None:
    torch.manual_seed(0)
    everybody = torch.cartesian_prod(torch.arange(6), torch.arange(6)).T

    def favourites(version: Any) -> set[int]:
        """Return how many different neighbours get a node's largest attention, for 20 seeds; all nodes are linked."""
        seen = set()
        for seed in range(20):
            torch.manual_seed(seed)
            network = GAT(F, C, hidden_size=8, heads=1, version=version).eval()
            edges, weights = network.attention(torch.randn(6, F), everybody)
            table = torch.zeros(6, 6).index_put_((edges[1], edges[0]), weights[:, 0])
            seen.add(len(set(table.argmax(1).tolist())))
        return seen

    assert favourites(1) == {1}
    assert max(favourites(2)) > 1
