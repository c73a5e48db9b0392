"""The graph convolution: three forms, PyG's, the matrix's properties, and the practical's six nodes."""

import pytest
import torch
from torch_geometric.nn import GCNConv
from torch_geometric.utils import remove_self_loops

from datamodules.six_nodes import NAMES, reach, six_nodes
from lightning_modules.networks.graph_convolution import (
    GraphConvolution,
    dense_adjacency,
    normalized_edges,
    sparse_adjacency,
)

N, F, OUT = 30, 5, 3
FORMS = ("dense", "edges", "sparse")


def random_graph(seed: int = 0) -> torch.Tensor:
    """Return a directed graph in which node 29 has no edge."""
    edges = torch.randint(0, N - 1, (2, 90), generator=torch.Generator().manual_seed(seed))
    return torch.unique(remove_self_loops(edges)[0], dim=1)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("loops", [False, True])
@pytest.mark.parametrize("weighted", [False, True])
def test_equals_pygs_layer_with_all_gradients(form: str, loops: bool, weighted: bool) -> None:
    torch.manual_seed(0)
    edges = random_graph()
    if loops:
        edges = torch.cat([edges, torch.tensor([[3, 7], [3, 7]])], dim=1)
    weights = torch.rand(edges.shape[1]) if weighted else None
    theirs, ours = GCNConv(F, OUT), GraphConvolution(F, OUT, form)
    with torch.no_grad():
        ours.weight.copy_(theirs.lin.weight.T)
        ours.bias.copy_(theirs.bias.uniform_())
    results = []
    for layer in (theirs, ours):
        x = torch.randn(N, F, generator=torch.Generator().manual_seed(1)).requires_grad_()
        out = layer(x, edges, weights)
        (out * torch.randn(N, OUT, generator=torch.Generator().manual_seed(2))).sum().backward()
        results.append((out, x.grad))
    gradients = ((theirs.lin.weight.grad.T, theirs.bias.grad), (ours.weight.grad, ours.bias.grad))
    for expected, found in zip(results[0] + gradients[0], results[1] + gradients[1], strict=True):
        torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-6)


def test_the_matrix() -> None:
    edges = six_nodes()
    matrix = dense_adjacency(edges, 6).double()
    torch.testing.assert_close(matrix, matrix.T)
    degree = torch.bincount(edges[1], minlength=6) + 1
    torch.testing.assert_close(matrix @ degree.double().sqrt(), degree.double().sqrt())  # the eigenvalue 1 …
    assert torch.linalg.eigvalsh(matrix).abs().max() == pytest.approx(1)  # … is the largest
    expected = (torch.eye(6) + torch.zeros(6, 6).index_put_(tuple(edges), torch.tensor(1.0))) / degree.outer(
        degree
    ).sqrt()
    torch.testing.assert_close(matrix.float(), expected)


def test_sparse_has_the_dense_entries() -> None:
    edges = random_graph()
    sparse = sparse_adjacency(edges, N)
    torch.testing.assert_close(sparse.rows.to_dense(), dense_adjacency(edges, N))
    torch.testing.assert_close(sparse.columns.to_dense(), dense_adjacency(edges, N).T)


@pytest.mark.parametrize("form", FORMS)
def test_a_node_alone_keeps_itself(form: str) -> None:
    layer, x = GraphConvolution(F, OUT, form), torch.randn(N, F)
    torch.testing.assert_close(layer(x, random_graph())[29], x[29] @ layer.weight + layer.bias)


def test_a_self_loop_counts_once() -> None:
    edges = torch.tensor([[0, 1, 0], [1, 0, 0]])
    pairs, weights = normalized_edges(edges, 2)
    assert pairs.shape == (2, 4)
    torch.testing.assert_close(weights, torch.full((4,), 0.5))


@pytest.mark.parametrize("form", FORMS)
def test_another_graph_is_not_taken_for_the_last(form: str) -> None:
    layer, x = GraphConvolution(F, OUT, form), torch.randn(N, F)
    first = layer(x, random_graph(0))
    second = layer(x, random_graph(1))
    assert not torch.allclose(first, second)
    torch.testing.assert_close(layer(x, random_graph(0)), first)


def test_c_reaches_e_after_four_layers() -> None:
    edges, C, E = six_nodes(), NAMES.index("C"), NAMES.index("E")
    for layers in range(1, 6):
        stack = [GraphConvolution(2, 2, "edges") for _ in range(layers)]
        x = torch.randn(6, 2, requires_grad=True)
        h = x
        for layer in stack:
            h = layer(h, edges)
        (gradient,) = torch.autograd.grad(h[E].sum(), x)
        arrived = bool(reach(edges, 6, layers)[E, C])
        assert arrived == (layers >= 4)
        assert bool(gradient[C].abs().sum() > 0) == arrived
