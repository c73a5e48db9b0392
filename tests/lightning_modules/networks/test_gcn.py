"""GraphConvolution: its three forms against PyG's GCNConv, properties of Â, and the practical's graph of six nodes."""

import re

import pytest
import torch
from torch_geometric.nn import GCNConv
from torch_geometric.utils import remove_self_loops

from datamodules.six_nodes import NAMES, reach, six_nodes
from lightning_modules.networks import gcn
from lightning_modules.networks.gcn import (
    Form,
    GraphConvolution,
    dense_adjacency,
    normalized_edges,
    sparse_adjacency,
)

N, F, OUT = 30, 5, 3
FORMS: tuple[Form, ...] = ("dense", "edges", "sparse")


def random_graph(seed: int = 0) -> torch.Tensor:
    """Return the edges of a directed graph in which node 29 is isolated."""
    edges = torch.randint(0, N - 1, (2, 90), generator=torch.Generator().manual_seed(seed))
    return torch.unique(remove_self_loops(edges)[0], dim=1)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("loops", [False, True])
@pytest.mark.parametrize("weighted", [False, True])
def test_outputs_and_gradients_equal_pygs(form: str, loops: bool, weighted: bool) -> None:
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


GRAPHS = {  # edges and weights; nodes 0..6
    "directed": ([[0, 1, 2, 5], [1, 2, 0, 3]], [0.5, 2.0, 1.5, 0.25]),
    "no edges": ([[], []], []),
    "edges twice": ([[0, 0, 1, 1, 2], [1, 1, 0, 0, 3]], [0.5, 0.5, 1.0, 3.0, 1.0]),
    "loops": ([[0, 3, 4, 1], [0, 3, 1, 4]], [0.5, 2.0, 1.0, 1.0]),
    "a degree of 0": ([[3, 0, 4], [3, 1, 3]], [0.0, 1.0, 0.0]),
    "weights of 0": ([[0, 1, 2], [1, 2, 0]], [0.0, 1.0, 0.0]),
    "negative weights": ([[0, 1, 2, 3], [1, 2, 1, 2]], [-0.5, 0.5, 0.25, -0.25]),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("graph", GRAPHS)
@pytest.mark.parametrize("given", ["int64", "int32, not contiguous"])
@pytest.mark.parametrize("shape", [(7, F), (2, 3, 7, F)], ids=str)
def test_unusual_graphs_equal_pygs(form: Form, graph: str, given: str, shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    rows, weights = GRAPHS[graph]
    edges = torch.tensor(rows, dtype=torch.int64).view(2, -1)
    own_edges = edges if given == "int64" else edges.int().T.contiguous().T
    theirs, ours = GCNConv(F, OUT).double(), GraphConvolution(F, OUT, form).double()
    with torch.no_grad():
        ours.weight.copy_(theirs.lin.weight.T)
        ours.bias.copy_(theirs.bias.uniform_())
    x, towards = torch.randn(shape, dtype=torch.float64), torch.randn(*shape[:-1], OUT, dtype=torch.float64)
    for learned in (True, False):  # weights with a gradient, and the cached matrix
        results = []
        for layer, own in ((theirs, edges), (ours, own_edges)):
            inputs = [x.clone().requires_grad_(), torch.tensor(weights, dtype=torch.float64, requires_grad=learned)]
            out = layer(inputs[0], own, inputs[1])
            (out * towards).sum().backward()
            results.append([out, *(each.grad for each in inputs if each.requires_grad)])
        for expected, found in zip(*results, strict=True):
            if graph == "a degree of 0":  # PyG's gradient of that node's weights is NaN
                assert found.isfinite().all()
                found = found.where(expected.isfinite(), torch.nan)
            torch.testing.assert_close(found, expected, atol=1e-12, rtol=1e-12, equal_nan=True)


def test_gradient_of_a_weight_at_a_node_of_degree_0() -> None:
    def output(weights: torch.Tensor) -> torch.Tensor:
        edges = torch.tensor([[3, 0, 4, 1], [3, 1, 3, 2]])
        return GraphConvolution.forward(layer, x, edges, torch.cat([weights.new_zeros(1), weights]))

    layer, x = GraphConvolution(F, OUT).double(), torch.randn(5, F, dtype=torch.float64)
    weights = torch.tensor([0.5, 1.0, 2.0], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(output, weights)


@pytest.mark.parametrize("form", FORMS)
def test_learned_edge_weights_get_a_gradient_each_step(form: Form) -> None:
    layer, x, edges = GraphConvolution(F, OUT, form), torch.randn(N, F), random_graph()
    weights = torch.rand(edges.shape[1], requires_grad=True)
    with torch.no_grad():
        layer(x, edges, weights)  # cached without a gradient
    gradients = [torch.autograd.grad(layer(x, edges, weights).square().sum(), weights)[0] for _ in range(2)]
    assert gradients[0].abs().min() > 0
    torch.testing.assert_close(*gradients)


def test_the_matrix_is_computed_once_if_the_weights_need_no_gradient(monkeypatch: pytest.MonkeyPatch) -> None:
    made = []
    monkeypatch.setattr(gcn, "sparse_adjacency", lambda *of: made.append(of) or sparse_adjacency(*of))
    layer, x, edges = GraphConvolution(F, OUT), torch.randn(N, F), random_graph()
    weights = torch.rand(edges.shape[1])
    for _ in range(3):
        layer(x, edges, weights).sum().backward()
    assert len(made) == 1


@pytest.mark.parametrize(
    ("edges", "weights", "message"),
    [
        ([[0, 5], [1, 0]], None, "edges must join nodes 0..4, got 5"),
        ([[0, -1], [1, 0]], None, "edges must join nodes 0..4, got -1"),
        ([[0, 1], [1, 0], [2, 3]], None, "edge_index must be integers [2, E], got torch.int64 [3, 2]"),
        ([[0.0, 1.0], [1.0, 0.0]], None, "edge_index must be integers [2, E], got torch.float32 [2, 2]"),
        ([[0, 1], [1, 0]], [1.0], "edge_weight must be [2], one per edge, got [1]"),
        ([[0, 1], [1, 2]], [1.0, -3.0], "the weights of the edges to node 2 sum to -2, which is negative"),
    ],
)
@pytest.mark.parametrize("form", FORMS)
def test_wrong_graphs_are_refused(form: Form, edges: list, weights: list | None, message: str) -> None:
    given = None if weights is None else torch.tensor(weights)
    with pytest.raises(ValueError, match=re.escape(message)):
        GraphConvolution(F, OUT, form)(torch.randn(5, F), torch.tensor(edges), given)


def test_the_matrix_is_symmetric_with_largest_eigenvalue_1() -> None:
    edges = six_nodes()
    matrix = dense_adjacency(edges, 6).double()
    torch.testing.assert_close(matrix, matrix.T)
    degree = torch.bincount(edges[1], minlength=6) + 1
    torch.testing.assert_close(matrix @ degree.double().sqrt(), degree.double().sqrt())  # eigenvalue 1 …
    assert torch.linalg.eigvalsh(matrix).abs().max() == pytest.approx(1)  # … is the largest
    expected = (torch.eye(6) + torch.zeros(6, 6).index_put_(tuple(edges), torch.tensor(1.0))) / degree.outer(
        degree
    ).sqrt()
    torch.testing.assert_close(matrix.float(), expected)


def test_sparse_and_dense_matrix_are_equal() -> None:
    edges = random_graph()
    sparse = sparse_adjacency(edges, N)
    torch.testing.assert_close(sparse.rows.to_dense(), dense_adjacency(edges, N))
    torch.testing.assert_close(sparse.columns.to_dense(), dense_adjacency(edges, N).T)


@pytest.mark.parametrize("form", FORMS)
def test_an_isolated_node_keeps_its_own_features(form: str) -> None:
    layer, x = GraphConvolution(F, OUT, form), torch.randn(N, F)
    torch.testing.assert_close(layer(x, random_graph())[29], x[29] @ layer.weight + layer.bias)


def test_a_self_loop_counts_once() -> None:
    edges = torch.tensor([[0, 1, 0], [1, 0, 0]])
    pairs, weights = normalized_edges(edges, 2)
    assert pairs.shape == (2, 4)
    torch.testing.assert_close(weights, torch.full((4,), 0.5))


@pytest.mark.parametrize("form", FORMS)
def test_two_graphs_are_not_confused(form: str) -> None:
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
