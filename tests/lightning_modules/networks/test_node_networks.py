"""Networks on nodes: sparse features, permutations, attention, aggregation by an LSTM."""

import copy
import pickle
from functools import partial
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.functional import elu
from torch_geometric.nn import GATConv, GATv2Conv

from datamodules.six_nodes import six_nodes
from lightning_modules.networks.node_networks import GAT, GCN, GCNII, MLP, GraphSAGE, LSTMAggregation, NodeNetwork
from lightning_modules.networks.sparse_matrix import SparseMatrix

NETWORKS: dict[str, Any] = {
    "mlp": MLP,
    "gcn": GCN,
    "gcn_edges": partial(GCN, form="edges", num_layers=3),
    "sage_mean": GraphSAGE,
    "sage_max": partial(GraphSAGE, aggregate="max"),
    "sage_lstm": partial(GraphSAGE, aggregate="lstm"),
    "gat": GAT,
    "gat_v2": partial(GAT, version=2),
    "gcn2": partial(GCNII, num_layers=4),
}
F, C = 7, 3


def make(name: str) -> tuple[NodeNetwork, torch.Tensor]:
    torch.manual_seed(0)
    x = torch.randn(6, F) * (torch.rand(6, F) < 0.5)
    return NETWORKS[name](F, C).eval(), x


@pytest.mark.parametrize("name", NETWORKS)
def test_sparse_features_are_dense_ones(name: str) -> None:
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


@pytest.mark.parametrize("name", [name for name in NETWORKS if name != "sage_lstm"])  # an LSTM sees an order
def test_nodes_have_no_order(name: str) -> None:
    network, x = make(name)
    order = torch.randperm(6)
    place = torch.argsort(order)  # node i is now at place[i]
    torch.testing.assert_close(network(x[order], place[six_nodes()]), network(x, six_nodes())[order])


@pytest.mark.parametrize("name", NETWORKS)
def test_dropout_in_training_alone(name: str) -> None:
    network, x = make(name)
    network.train()
    given = x.to_sparse_csr()
    assert not torch.equal(network(given, six_nodes()), network(given, six_nodes()))


@pytest.mark.parametrize("edges", [[[], []], [[0, 0, 4], [1, 1, 4]]], ids=["no edge", "twice and a loop"])
@pytest.mark.parametrize("name", NETWORKS)
def test_nodes_alone_and_equal_edges(name: str, edges: list) -> None:
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


def test_data_must_tell_their_sizes() -> None:
    with pytest.raises(ValueError, match="GCN needs num_features and num_classes"):
        GCN(None, 3)
    with pytest.raises(ValueError, match="two layers or more, got num_layers 1"):
        GCN(3, 3, num_layers=1)


def test_attention_sums_to_one_and_is_a_mean_without_a_vector() -> None:
    network, x = make("gat")
    edges, weights = network.attention(x, six_nodes())
    sums = torch.zeros(6, weights.shape[1]).index_add_(0, edges[1], weights)
    torch.testing.assert_close(sums, torch.ones_like(sums))
    nn.init.zeros_(network.first.att_src)
    nn.init.zeros_(network.first.att_dst)
    edges, weights = network.attention(x, six_nodes())
    torch.testing.assert_close(weights, (1 / torch.bincount(edges[1]).float())[edges[1], None].expand_as(weights))


@pytest.mark.parametrize(("version", "theirs", "ends"), [(1, GATConv, ["lin"]), (2, GATv2Conv, ["lin_l", "lin_r"])])
def test_features_are_projected_as_pyg_does(version: Any, theirs: Any, ends: list[str]) -> None:
    torch.manual_seed(0)
    network, x = GAT(F, C, version=version).eval(), torch.randn(6, F)
    layer, state = theirs(F, 8, heads=8), network.first.state_dict()
    for name, projection in zip(ends, network.projections, strict=True):
        state[f"{name}.weight"] = projection.weight.T
        if version == 2:  # PyG adds biases to the paper's W
            state[f"{name}.bias"] = torch.zeros(64)
    layer.load_state_dict(state)
    torch.testing.assert_close(network.hidden(x, six_nodes()), elu(layer(x, six_nodes())))


def test_only_version_two_orders_neighbours_anew_for_every_node() -> None:
    torch.manual_seed(0)
    everybody = torch.cartesian_prod(torch.arange(6), torch.arange(6)).T

    def favourites(version: Any) -> set[int]:
        """Return the neighbours to which some node attends most; every node sees every one."""
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


def test_the_lstm_reads_a_nodes_neighbours() -> None:
    torch.manual_seed(0)
    aggregate = LSTMAggregation(4)
    x, index = torch.randn(5, 4), torch.tensor([0, 0, 2, 2, 2])
    out = aggregate(x, index, dim_size=4)
    assert torch.equal(out[[1, 3]], torch.zeros(2, 4))
    for node, rows in {0: x[:2], 2: x[2:]}.items():
        torch.testing.assert_close(out[node], aggregate.lstm(rows[None])[0][0, -1])


def test_sparse_matrix() -> None:
    torch.manual_seed(0)
    dense = torch.randn(5, 8) * (torch.rand(5, 8) < 0.4)
    dense[2] = 0
    matrix, right = SparseMatrix.from_csr(dense.to_sparse_csr()), torch.randn(8, 3, requires_grad=True)
    product = matrix @ right
    torch.testing.assert_close(product, dense @ right)
    (gradient,) = torch.autograd.grad(product.square().sum(), right)
    torch.testing.assert_close(gradient, 2 * dense.T @ (dense @ right))
    several = torch.randn(2, 3, 8, 3)
    torch.testing.assert_close(matrix @ several, dense @ several)
    with pytest.raises(ValueError, match="passes no gradient to its values"):
        SparseMatrix.from_csr(dense.to_sparse_csr().requires_grad_())
    dropped = matrix.dropout(0.5)
    torch.testing.assert_close(dropped.rows.to_dense(), dropped.columns.to_dense().T)
    kept = dropped.rows.to_dense() != 0
    torch.testing.assert_close(dropped.rows.to_dense()[kept], 2 * dense[kept])
    assert 0 < kept.sum() < (dense != 0).sum()


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
def test_a_network_that_ran_can_be_copied(name: str) -> None:
    network, x = make(name)
    expected = network(x.to_sparse_csr(), six_nodes())
    for other in (copy.deepcopy(network), pickle.loads(pickle.dumps(network))):
        assert torch.equal(other(x.to_sparse_csr(), six_nodes()), expected)


@pytest.mark.parametrize("name", ["gcn", "gcn_edges", "gcn2"])
def test_what_is_kept_of_a_graph_follows_it(name: str) -> None:
    network, x = make(name)
    edges = six_nodes()
    network(x, edges)
    edges[1, 1] = 5  # the same tensor, another graph
    assert torch.equal(network(x, edges), network(x, edges.clone()))
    more = torch.cat([x, x[:1]])  # the same edges, a node more
    assert torch.equal(network(more, edges)[:6], network(x, edges.clone()))


@pytest.mark.parametrize("name", [*NETWORKS, "gcn_dense"])
def test_what_is_made_in_an_evaluation_serves_a_training(name: str) -> None:
    network = (partial(GCN, form="dense") if name == "gcn_dense" else NETWORKS[name])(F, C)
    x, edges = torch.randn(6, F).to_sparse_csr(), six_nodes()
    with torch.inference_mode():
        network(x, edges)
    network(x, edges).square().sum().backward()
