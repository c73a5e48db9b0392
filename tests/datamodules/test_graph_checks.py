"""What a graph's parts are converted to, and what is refused."""

import pytest
import torch
from torch.nn.functional import cross_entropy
from torch_geometric.data import Data

from datamodules.errors import DataError
from datamodules.graph_checks import check_graph
from datamodules.node_graphs import NodeGraph
from lightning_modules.networks.gcn import GCN


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"edge_index": torch.empty(2, 0, dtype=torch.int64)}, "no edges"),
        ({"edge_index": torch.tensor([[0, 1], [1, 5]])}, r"must join nodes 0..4, got 5"),
        ({"edge_index": torch.tensor([[0, -1], [1, 2]])}, r"must join nodes 0..4, got -1"),
        ({"edge_index": torch.tensor([[0.0, 1.0], [1.0, 2.0]])}, r"edges must be int64 \[2, E\], got torch.float32"),
        ({"edge_index": torch.zeros(3, 4, dtype=torch.int64)}, r"edges must be int64 \[2, E\], got .* \[3, 4\]"),
        ({"x": torch.full((5, 1), float("nan"))}, "not finite"),
        ({"x": torch.ones(4, 1)}, r"features must be \[5, F\]"),
        ({"x": torch.ones(5, 1).to_sparse_coo()}, "sparse_coo"),
        ({"x": None}, "the graph lacks x"),
        ({"val_mask": torch.zeros(5, dtype=torch.bool)}, "no node in its val split"),
        ({"val_mask": torch.arange(5) < 1}, "node 0 is in two splits"),
        ({"val_mask": torch.ones(4, dtype=torch.bool)}, r"val_mask must be bool \[5\]"),
        ({"val_mask": torch.tensor([3])}, r"got torch.int64 \[1\]; numbers of nodes become one by torch.isin\("),
        ({"val_mask": [False, False, False, True, False]}, r"val_mask must be bool \[5\], .* got list"),
        ({"edge_index": torch.zeros(4, 2, dtype=torch.int64)}, r"\[2, E\], got torch.int64 \[4, 2\]; \.T turns it"),
        ({"test_mask": None}, "the graph lacks test_mask"),
        ({"y": torch.tensor([0, 3, 1, 0, 0])}, "no training node is of class 2"),
        ({"y": torch.tensor([0, -1, 1, 0, 0])}, "classes are numbered from 0, got -1"),
        ({"y": torch.zeros(5)}, r"classes must be whole numbers \[N\], got torch.float32"),
    ],
)
def test_graphs_that_are_refused(changes: dict[str, torch.Tensor], message: str) -> None:
    nodes = torch.arange(5)
    masks = {"train_mask": nodes < 3, "val_mask": nodes == 3, "test_mask": nodes == 4}
    graph = Data(x=torch.ones(5, 1), edge_index=torch.tensor([[0, 1], [1, 2]]), y=nodes % 3, **masks)
    check_graph(graph)
    graph.update(changes)
    with pytest.raises(DataError, match=message):
        check_graph(graph)


def own_graph(**changes: object) -> NodeGraph:
    class Own(NodeGraph):
        def load(self) -> Data:
            nodes = torch.arange(6)
            masks = {"train_mask": nodes < 4, "val_mask": nodes == 4, "test_mask": nodes == 5}
            parts = {"x": torch.eye(6), "edge_index": torch.tensor([[0, 1, 4], [1, 2, 5]]), "y": nodes % 2}
            return Data(**masks, **(parts | changes))

    return Own()


@pytest.mark.parametrize(
    "changes",
    [
        {"y": torch.tensor([0, 1, 0, 1, 0, 1], dtype=torch.int32)},
        {"y": torch.tensor([0, 1, 0, 1, 0, 1], dtype=torch.uint8)},
        {"y": torch.tensor([0, 1, 0, 1, 0, 1], dtype=torch.bool)},
        {"x": torch.eye(6, dtype=torch.int64)},
        {"x": torch.eye(6, dtype=torch.bool)},
        {"x": torch.eye(6, dtype=torch.float64)},
        {"x": torch.eye(6, dtype=torch.float16)},
        {"x": torch.eye(6, dtype=torch.float64).to_sparse_csr()},
        {"x": torch.eye(6, dtype=torch.int64).to_sparse_csr()},
        {"edge_index": torch.tensor([[0, 1, 4], [1, 2, 5]], dtype=torch.int32)},
        {"edge_index": torch.tensor([[0, 1], [1, 2], [4, 5]]).T},
    ],
    ids=lambda changes: " ".join(f"{name} {part.dtype} {part.layout}" for name, part in changes.items()),
)
def test_numbers_of_other_sizes_are_converted(changes: dict[str, torch.Tensor]) -> None:
    usual, graph = own_graph().graph, own_graph(**changes).graph
    assert (graph.x.dtype, graph.edge_index.dtype, graph.y.dtype) == (torch.float32, torch.int64, torch.int64)
    assert torch.equal(graph.x.to_dense(), usual.x)
    assert torch.equal(graph.edge_index, usual.edge_index)
    assert torch.equal(graph.y, usual.y)
    network = GCN(6, 2)
    cross_entropy(network(graph.x, graph.edge_index), graph.y).backward()
    assert network.first.weight.grad.isfinite().all()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"y": torch.zeros(6, dtype=torch.float64)}, r"classes must be whole numbers \[N\], got torch.float64 \[6\]"),
        ({"y": torch.zeros(6, 1, dtype=torch.int32)}, r"classes must be whole numbers \[N\], got torch.int64 \[6, 1\]"),
        ({"x": torch.eye(6, dtype=torch.complex64)}, r"x must be real numbers, got torch.complex64"),
        ({"x": torch.eye(6, dtype=torch.float64) * 1e300}, "not finite numbers"),
        ({"x": torch.eye(6).numpy()}, "x must be a tensor, got ndarray"),
        ({"y": [0, 1, 0, 1, 0, 1]}, "y must be a tensor, got list"),
        ({"edge_index": torch.tensor([[0, 9], [1, 2]], dtype=torch.int32)}, r"must join nodes 0\.\.5, got 9"),
    ],
)
def test_what_cannot_be_converted_is_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(DataError, match=message):
        own_graph(**changes).graph  # noqa: B018
