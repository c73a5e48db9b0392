"""All networks on nodes: sparse features, order of the nodes, precisions, copies and the cache."""

import copy
import pickle
from functools import partial
from typing import Any

import pytest
import torch

from datamodules.six_nodes import six_nodes
from lightning_modules.networks.gat import GAT
from lightning_modules.networks.gcn import GCN
from lightning_modules.networks.gcnii import GCNII
from lightning_modules.networks.graph_sage import GraphSAGE
from lightning_modules.networks.mlp import MLP
from lightning_modules.networks.node_network import NodeNetwork

NETWORKS: dict[str, Any] = {
    "mlp": MLP,
    "gcn": GCN,
    "gcn_edges": partial(GCN, form="edges", num_layers=3),
    "sage_mean": GraphSAGE,
    "sage_max": partial(GraphSAGE, aggregate="max"),
    "sage_lstm": partial(GraphSAGE, aggregate="lstm"),
    "gat": GAT,
    "gat_v2": partial(GAT, version=2),
    "gcnii": partial(GCNII, num_layers=4),
}
F, C = 7, 3


def make(name: str) -> tuple[NodeNetwork, torch.Tensor]:
    torch.manual_seed(0)
    x = torch.randn(6, F) * (torch.rand(6, F) < 0.5)
    return NETWORKS[name](F, C).eval(), x


@pytest.mark.parametrize("name", NETWORKS)
def test_sparse_and_dense_features_are_equal(name: str) -> None:
    network, x = make(name)
    gradients = []
    for given in (x, x.to_sparse_csr()):
        out = network(given, six_nodes())
        assert out.shape == (6, C)
        out.square().sum().backward()
        gradients.append([out, *(parameter.grad.clone() for parameter in network.parameters())])
        network.zero_grad()
    for dense, sparse in zip(*gradients, strict=True):
        torch.testing.assert_close(sparse, dense, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", [name for name in NETWORKS if name != "sage_lstm"])  # depends on the edges' order
def test_the_order_of_nodes_does_not_matter(name: str) -> None:
    network, x = make(name)
    order = torch.randperm(6)
    place = torch.argsort(order)  # node i moves to place[i]
    torch.testing.assert_close(network(x[order], place[six_nodes()]), network(x, six_nodes())[order])


@pytest.mark.parametrize("name", NETWORKS)
def test_dropout_in_training_only(name: str) -> None:
    network, x = make(name)
    network.train()
    given = x.to_sparse_csr()
    assert not torch.equal(network(given, six_nodes()), network(given, six_nodes()))


@pytest.mark.parametrize("edges", [[[], []], [[0, 0, 4], [1, 1, 4]]], ids=["no edge", "twice and a loop"])
@pytest.mark.parametrize("name", NETWORKS)
def test_isolated_nodes_and_repeated_edges(name: str, edges: list) -> None:
    network, x = make(name)
    network.double()
    outputs = []
    for given in (x.double(), x.double().to_sparse_csr()):
        out = network(given, torch.tensor(edges, dtype=torch.int64).view(2, -1))
        assert out.isfinite().all()
        out.sum().backward()
        assert all(each.grad is None or each.grad.isfinite().all() for each in network.parameters())
        outputs.append(out)
    torch.testing.assert_close(*outputs, atol=1e-12, rtol=1e-12)


def test_sizes_must_be_defined() -> None:
    with pytest.raises(ValueError, match="GCN needs num_features, which the data module does not define"):
        GCN(None, 3)
    with pytest.raises(ValueError, match="two layers or more, got num_layers 1"):
        GCN(3, 3, num_layers=1)


@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("precision", ["autocast", torch.bfloat16, torch.float64])
@pytest.mark.parametrize("name", [*NETWORKS, "gcn_dense"])
def test_other_precisions(name: str, precision: str | torch.dtype, sparse: bool) -> None:
    torch.manual_seed(0)
    network = (partial(GCN, form="dense") if name == "gcn_dense" else NETWORKS[name])(F, C).eval()
    x = torch.randn(6, F)
    x = x.to_sparse_csr() if sparse else x
    expected = network(x, six_nodes()).detach()
    if isinstance(precision, torch.dtype):
        network.to(precision)
    with torch.autocast("cpu", torch.bfloat16, enabled=precision == "autocast"):
        out = network(x, six_nodes())
    out.float().square().sum().backward()
    assert all(parameter.grad.isfinite().all() for parameter in network.parameters())
    assert precision == "autocast" or out.dtype == precision
    bound = 1e-5 if precision == torch.float64 else 0.05
    torch.testing.assert_close(out.float(), expected, atol=bound, rtol=bound)


@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_can_be_copied_after_use(name: str) -> None:
    network, x = make(name)
    expected = network(x.to_sparse_csr(), six_nodes())
    for other in (copy.deepcopy(network), pickle.loads(pickle.dumps(network))):
        assert torch.equal(other(x.to_sparse_csr(), six_nodes()), expected)


@pytest.mark.parametrize("name", ["gcn", "gcn_edges", "gcnii"])
def test_a_changed_graph_is_noticed(name: str) -> None:
    network, x = make(name)
    edges = six_nodes()
    network(x, edges)
    edges[1, 1] = 5  # changed in place
    assert torch.equal(network(x, edges), network(x, edges.clone()))
    more = torch.cat([x, x[:1]])  # the same edges, one node more
    assert torch.equal(network(more, edges)[:6], network(x, edges.clone()))


@pytest.mark.parametrize("name", [*NETWORKS, "gcn_dense"])
def test_training_after_an_evaluation_in_inference_mode(name: str) -> None:
    network = (partial(GCN, form="dense") if name == "gcn_dense" else NETWORKS[name])(F, C)
    x, edges = torch.randn(6, F).to_sparse_csr(), six_nodes()
    with torch.inference_mode():
        network(x, edges)
    network(x, edges).square().sum().backward()
