"""What is kept of a graph: computed once, for as long as the graph lives and stays as it is."""

import gc
import weakref
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor

from datamodules.six_nodes import six_nodes
from lightning_modules.networks import graph_cache
from lightning_modules.networks.friend_sage import FriendSAGE, mean_adjacency
from lightning_modules.networks.gcn import dense_adjacency, normalized_edges, sparse_adjacency
from lightning_modules.networks.gcnii import GCNII
from lightning_modules.networks.graph_cache import once_per_graph
from lightning_modules.networks.graph_sage import GraphSAGE
from lightning_modules.networks.link_baselines import adjacency_matrix
from lightning_modules.networks.node_network import dense_features, sparse_features
from lightning_modules.networks.rgcn import pair_matrices


@pytest.fixture
def calls() -> list[tuple]:
    return []


@pytest.fixture
def degrees(calls: list[tuple]) -> Any:
    def compute(edges: Tensor, scale: float, weights: Tensor | None = None) -> Tensor:
        calls.append((scale, weights))
        ones = torch.ones(edges.shape[1]) if weights is None else weights
        return scale * torch.zeros(6).index_add(0, edges[1], ones)

    return partial(once_per_graph, compute)


def test_a_result_is_computed_once(degrees: Any, calls: list[tuple]) -> None:
    edges, weights = six_nodes(), torch.rand(12)
    for _ in range(3):
        assert degrees(edges, 2.0) is degrees(edges, 2.0)
        assert degrees(edges, 2.0, weights) is degrees(edges, 2.0, weights)
        assert degrees(edges, 3.0) is degrees(edges, 3.0)
    assert len(calls) == 3


def test_another_argument_is_another_result(degrees: Any, calls: list[tuple]) -> None:
    edges, weights = six_nodes(), torch.rand(12)
    before = degrees(edges, 2.0, weights)
    assert torch.equal(degrees(edges.clone(), 2.0, weights), before)
    assert torch.equal(degrees(edges, 2.0, weights.clone()), before)
    assert len(calls) == 3
    edges[1, 1] = 5
    assert not torch.equal(degrees(edges, 2.0, weights), before)
    before = degrees(edges, 2.0, weights)
    weights.mul_(2)
    torch.testing.assert_close(degrees(edges, 2.0, weights), 2 * before)


def test_changed_values_of_a_sparse_matrix_are_noticed() -> None:
    x = torch.eye(3).to_sparse_csr()
    assert once_per_graph(dense_features, x, torch.float32).sum() == 3
    x.values().mul_(2)
    assert once_per_graph(dense_features, x, torch.float32).sum() == 6


def test_a_gradient_that_is_asked_for_flows_each_time(degrees: Any, calls: list[tuple]) -> None:
    edges, weights = six_nodes(), torch.rand(12, requires_grad=True)
    with torch.no_grad():
        assert not degrees(edges, 2.0, weights).requires_grad
    for _ in range(2):
        torch.autograd.grad(degrees(edges, 2.0, weights).sum(), weights)
    assert len(calls) == 3


def test_what_is_made_in_inference_mode_serves_training(degrees: Any) -> None:
    edges = six_nodes()
    with torch.inference_mode():
        result = degrees(edges, 2.0)
    assert degrees(edges, 2.0) is result
    factor = torch.ones(6, requires_grad=True)
    (factor * result).square().sum().backward()


MADE: dict[str, Any] = {
    "sparse": lambda edges: once_per_graph(sparse_adjacency, edges, 6, torch.rand(12), torch.float32),
    "edges": lambda edges: once_per_graph(normalized_edges, edges, 6),
    "dense": lambda edges: once_per_graph(dense_adjacency, edges, 6),
    "mean": lambda edges: once_per_graph(mean_adjacency, edges, 6),
    "pairs": lambda edges: once_per_graph(pair_matrices, edges, torch.zeros(12).long(), 6, 2),
    "baseline": lambda edges: once_per_graph(adjacency_matrix, edges, 6),
    "sparse features": lambda x: once_per_graph(sparse_features, x, torch.float32),
    "dense features": lambda x: once_per_graph(dense_features, x, torch.float32),
}


@pytest.mark.parametrize("name", MADE)
def test_a_graph_takes_what_is_kept_of_it_along(name: str) -> None:
    graph = torch.eye(6).to_sparse_csr() if name.endswith("features") else six_nodes().clone()
    MADE[name](graph)
    assert graph in graph_cache._cache
    count, alive = len(graph_cache._cache), weakref.ref(graph)
    del graph
    gc.collect()
    assert alive() is None
    assert len(graph_cache._cache) < count


@pytest.mark.parametrize("make", [partial(GCNII, 7, 3, num_layers=2), partial(GraphSAGE, 7, 3), partial(FriendSAGE, 6)])
def test_networks_hold_nothing_of_a_graph(make: Any) -> None:
    network, edges = make(), six_nodes()
    before = {name: set(vars(module)) for name, module in network.named_modules()}
    if isinstance(network, FriendSAGE):
        network.encode(edges)
    else:
        network(torch.randn(6, 7).to_sparse_csr(), edges)
    assert {name: set(vars(module)) for name, module in network.named_modules()} == before
