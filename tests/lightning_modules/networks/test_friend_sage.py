"""FriendSAGE against PyG's SAGEConv."""

import pytest
import torch
from torch_geometric.nn import SAGEConv

from lightning_modules.networks.friend_sage import FriendSAGE, mean_adjacency

EDGES, TYPES = torch.tensor([[0, 1, 1, 2], [1, 0, 2, 1]]), torch.tensor([0, 1, 0, 1])
HEADS, RELATIONS = torch.tensor([0, 2, 1]), torch.tensor([1, 0, 1])


def test_outputs_equal_pygs() -> None:
    network = FriendSAGE(3, 4, num_layers=2).eval()
    h = network.nodes
    for depth, (own, neighbours) in enumerate(zip(network.own, network.neighbours, strict=True)):
        layer = SAGEConv(4, 4)
        layer.lin_r.weight, layer.lin_l.bias, layer.lin_l.weight = own.weight, own.bias, neighbours.weight
        h = layer(torch.relu(h) if depth else h, EDGES)
    torch.testing.assert_close(network.encode(EDGES), h)
    torch.testing.assert_close(network(HEADS, RELATIONS, EDGES, TYPES), h[HEADS] @ h.T)


@pytest.mark.parametrize("edges", [[[], []], [[0, 0, 2], [1, 1, 2]]], ids=["no edge", "twice and a loop"])
@pytest.mark.parametrize("dtype", [torch.int64, torch.int32])
def test_unusual_graphs_equal_pygs(edges: list, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    network, layer = FriendSAGE(3, 4).double().eval(), SAGEConv(4, 4).double()
    layer.lin_r.weight, layer.lin_l.bias = network.own[0].weight, network.own[0].bias
    layer.lin_l.weight = network.neighbours[0].weight
    edge_index = torch.tensor(edges, dtype=torch.int64).view(2, -1)
    z, expected = network.encode(edge_index.to(dtype)), layer(network.nodes, edge_index)
    torch.testing.assert_close(z, expected, atol=1e-12, rtol=1e-12)
    found, wanted = (torch.autograd.grad(each.square().sum(), network.nodes)[0] for each in (z, expected))
    torch.testing.assert_close(found, wanted, atol=1e-12, rtol=1e-12)


def test_an_edge_to_a_missing_node_is_refused() -> None:
    with pytest.raises(ValueError, match=r"edges must join nodes 0\.\.2, got 3"):
        FriendSAGE(3, 4).encode(torch.tensor([[0], [3]]))


def test_a_node_without_neighbours_receives_nothing() -> None:
    mean = mean_adjacency(EDGES, 4) @ torch.eye(4)
    assert mean.tolist() == [[0, 1, 0, 0], [0.5, 0, 0.5, 0], [0, 1, 0, 0], [0, 0, 0, 0]]
