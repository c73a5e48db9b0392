"""RelationalConvolution against PyG's RGCNConv."""

import re

import pytest
import torch
from torch_geometric.nn import RGCNConv

from lightning_modules.networks.rgcn import RelationalConvolution


def test_outputs_and_gradients_equal_pygs() -> None:
    torch.manual_seed(0)
    N, E, R = 9, 40, 5
    edges, types = torch.randint(N - 1, (2, E)), torch.randint(R - 1, (E,))  # one node and one relation have no edge
    ours, theirs = RelationalConvolution(6, 4, R, 3), RGCNConv(6, 4, R, 3)
    names = {"root": "root", "bases": "weight", "shares": "comp", "bias": "bias"}
    theirs.load_state_dict({names[name]: value for name, value in ours.state_dict().items()})
    h = torch.randn(N, 6, requires_grad=True)
    h_theirs = h.detach().clone().requires_grad_()
    output, expected = ours(h, edges, types), theirs(h_theirs, edges, types)
    torch.testing.assert_close(output, expected)
    weights = torch.randn_like(output)
    (output * weights).sum().backward()
    (expected * weights).sum().backward()
    torch.testing.assert_close(h.grad, h_theirs.grad)
    for name, other in names.items():
        torch.testing.assert_close(getattr(ours, name).grad, getattr(theirs, other).grad)


@pytest.mark.parametrize("edges", [[[], []], [[0, 0, 1], [1, 1, 1]], [[3, 3], [3, 0]]], ids=["none", "twice", "loop"])
@pytest.mark.parametrize("dtype", [torch.int64, torch.int32])
def test_unusual_graphs_equal_pygs(edges: list, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    edge_index = torch.tensor(edges, dtype=torch.int64).view(2, -1)
    types = torch.zeros(edge_index.shape[1], dtype=torch.int64)
    ours, theirs = RelationalConvolution(6, 4, 5, 3).double(), RGCNConv(6, 4, 5, 3).double()
    names = {"root": "root", "bases": "weight", "shares": "comp", "bias": "bias"}
    theirs.load_state_dict({names[name]: value for name, value in ours.state_dict().items()})
    h = torch.randn(5, 6, dtype=torch.float64, requires_grad=True)
    output, expected = ours(h, edge_index.to(dtype).T.contiguous().T, types.to(dtype)), theirs(h, edge_index, types)
    torch.testing.assert_close(output, expected, atol=1e-12, rtol=1e-12)
    towards = torch.randn_like(output)
    found, wanted = (torch.autograd.grad((each * towards).sum(), h)[0] for each in (output, expected))
    torch.testing.assert_close(found, wanted, atol=1e-12, rtol=1e-12)


@pytest.mark.parametrize(
    ("edges", "types", "message"),
    [
        ([[0], [5]], [0], "edges must join nodes 0..4, got 5"),
        ([[0], [1]], [3], "edge_type must be 0..2, got 3..3"),
        ([[0], [1]], [0, 1], "edge_type must be [1], one per edge, got [2]"),
    ],
)
def test_wrong_graphs_are_refused(edges: list, types: list, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        RelationalConvolution(6, 4, 3, 2)(torch.randn(5, 6), torch.tensor(edges), torch.tensor(types))


def test_other_relations_of_the_same_edges() -> None:
    edges, h, layer = torch.randint(5, (2, 12)), torch.randn(5, 6), RelationalConvolution(6, 4, 3, 2)
    first, second = torch.zeros(12, dtype=torch.int64), torch.arange(12) % 3
    before = layer(h, edges, first)
    torch.testing.assert_close(layer(h, edges, second), layer(h, edges.clone(), second))
    assert not torch.allclose(layer(h, edges, second), before)
