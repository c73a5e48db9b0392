"""R-GCN's layer beside PyG's, which passes messages relation by relation."""

import torch
from torch_geometric.nn import RGCNConv

from lightning_modules.networks.relational_convolution import RelationalConvolution


def test_pygs_layer_agrees() -> None:
    torch.manual_seed(0)
    N, E, R = 9, 40, 5
    edges, types = torch.randint(N - 1, (2, E)), torch.randint(R - 1, (E,))  # a node and a relation without an edge
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


def test_other_relations_of_the_same_edges() -> None:
    edges, h, layer = torch.randint(5, (2, 12)), torch.randn(5, 6), RelationalConvolution(6, 4, 3, 2)
    first, second = torch.zeros(12, dtype=torch.int64), torch.arange(12) % 3
    before = layer(h, edges, first)
    torch.testing.assert_close(layer(h, edges, second), layer(h, edges.clone(), second))
    assert not torch.allclose(layer(h, edges, second), before)
