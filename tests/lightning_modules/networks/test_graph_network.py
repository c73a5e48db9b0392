"""All networks on whole graphs: invariance to the order of nodes and to the rest of the batch; unusual graphs."""

import pytest
import torch
from torch import Tensor
from torch_geometric.data import Batch, Data

from lightning_modules.networks.attentive_fp import AttentiveFP
from lightning_modules.networks.counts import Counts
from lightning_modules.networks.dmpnn import DMPNN
from lightning_modules.networks.gine import GINE
from lightning_modules.networks.graph_network import GraphNetwork

F, G, K = 5, 3, 2
NETWORKS = [GINE, DMPNN, AttentiveFP, Counts]


def ring(nodes: int, chord: bool = False) -> Data:
    """Return a ring with random features, with one more edge across it on request; a ring of one node has no edge."""
    edges = [(v, (v + 1) % nodes) for v in range(nodes)] if nodes > 2 else []
    edges += [(0, nodes // 2)] if chord else []
    edge_index = torch.tensor([*edges, *[(w, v) for v, w in edges]]).reshape(-1, 2).T
    edge_attr = torch.randn(len(edges), G).repeat(2, 1)
    return Data(x=torch.randn(nodes, F), edge_index=edge_index.long(), edge_attr=edge_attr)


def call(network: GraphNetwork, graphs: list[Data]) -> Tensor:
    batch = Batch.from_data_list(graphs)
    return network(batch.x, batch.edge_index, batch.edge_attr, batch.batch, batch.num_graphs)


@pytest.fixture
def graphs() -> list[Data]:
    torch.manual_seed(0)
    return [ring(5), ring(1), ring(6, chord=True), ring(7)]


def made(kind: type[GraphNetwork], graphs: list[Data]) -> GraphNetwork:
    network = kind(F, G, K)  # type: ignore[call-arg]
    call(network, graphs)  # sets the running statistics of the batch norms
    return network.eval()


@pytest.mark.parametrize("kind", NETWORKS)
def test_the_order_of_nodes_and_edges_does_not_matter(kind: type[GraphNetwork], graphs: list[Data]) -> None:
    network = made(kind, graphs)
    shuffled = []
    for graph in graphs:
        order = torch.randperm(graph.num_nodes)  # the old index of each new node
        new_number = torch.empty_like(order)
        new_number[order] = torch.arange(len(order))
        edges = torch.randperm(graph.num_edges)
        shuffled.append(
            Data(x=graph.x[order], edge_index=new_number[graph.edge_index][:, edges], edge_attr=graph.edge_attr[edges])
        )
    torch.testing.assert_close(call(network, shuffled), call(network, graphs), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", NETWORKS)
def test_a_batch_equals_its_graphs_one_by_one(kind: type[GraphNetwork], graphs: list[Data]) -> None:
    network = made(kind, graphs)
    alone = torch.cat([call(network, [graph]) for graph in graphs])
    assert alone.shape == (4, K)
    torch.testing.assert_close(call(network, graphs), alone, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", NETWORKS)
def test_only_counts_ignores_how_a_graph_is_connected(kind: type[GraphNetwork]) -> None:
    """A path and a star of four equal nodes have the same counts of nodes and edges."""
    torch.manual_seed(0)
    path, star = [(0, 1), (1, 2), (2, 3)], [(0, 1), (0, 2), (0, 3)]
    both = [
        Data(
            x=torch.ones(4, F),
            edge_index=torch.tensor([*edges, *[(w, v) for v, w in edges]]).T,
            edge_attr=torch.ones(6, G),
        )
        for edges in (path, star)
    ]
    one, other = call(made(kind, both), both)
    assert torch.equal(one, other) == (kind is Counts)


@pytest.mark.parametrize("edges", [[[], []], [[0, 0, 1, 1], [1, 1, 0, 0]], [[2], [2]]], ids=["none", "twice", "loop"])
@pytest.mark.parametrize("kind", NETWORKS)
def test_any_graph_has_gradients_of_all_its_features(kind: type[GraphNetwork], edges: list) -> None:
    """The second of the three graphs has no node, and most nodes have no edge."""
    torch.manual_seed(0)
    network = kind(F, G, K).double().eval()  # type: ignore[call-arg]
    x = torch.randn(4, F, dtype=torch.float64, requires_grad=True)
    edge_attr = torch.randn(len(edges[0]), G, dtype=torch.float64, requires_grad=True)
    edge_index = torch.tensor(edges, dtype=torch.int64).view(2, -1)
    network(x, edge_index, edge_attr, torch.tensor([0, 0, 0, 2]), 3).square().sum().backward()
    for features in (x, edge_attr):
        assert features.grad is not None
        assert features.grad.isfinite().all()
        assert len(features) < 2 or features.grad.abs().sum() > 0  # a single neighbour's attention is always 1


@pytest.mark.parametrize("kind", NETWORKS)
def test_sizes_must_be_defined(kind: type[GraphNetwork]) -> None:
    with pytest.raises(ValueError, match=f"{kind.__name__} needs num_edge_features, which the data"):
        kind(F, None, K)  # type: ignore[call-arg, arg-type]
