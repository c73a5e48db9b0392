"""Networks that tell a property of a whole graph: GINE, directed messages, AttentiveFP, and one that sees no edges.

All are called as `network(x, edge_index, edge_attr, batch, num_graphs)` on graphs side by side and return [B, K].
Legend: B graphs, N nodes and E edges of all of them, F and G features of a node and of an edge, H hidden, K outputs.
"""

import torch
from jsonargparse.typing import ClosedUnitInterval, NonNegativeInt, PositiveInt
from torch import Tensor, nn
from torch.nn.functional import dropout, relu
from torch_geometric.nn import BatchNorm, GINEConv, global_add_pool, global_mean_pool
from torch_geometric.nn.models import AttentiveFP as PyGAttentiveFP


class GraphNetwork(nn.Module):
    """What the networks share: the check of the data's facts.

    Args:
        num_features: width F of a node's features.
        num_edge_features: width G of an edge's features.
        num_outputs: number K of classes, or 1 for a quantity.
        dropout: probability that a feature is dropped, in training.

    Raises:
        ValueError: if the data do not tell one of these numbers.
    """

    def __init__(self, num_features: int, num_edge_features: int, num_outputs: int, dropout: float) -> None:
        super().__init__()
        if not num_features or not num_edge_features or not num_outputs:
            raise ValueError(f"{type(self).__name__} needs a set of graphs, such as datamodules.molecules.Molecules")
        self.p = dropout

    def drop(self, h: Tensor) -> Tensor:
        """Return features after dropout."""
        return dropout(h, self.p, self.training)


def pool(h: Tensor, batch: Tensor, num_graphs: int) -> Tensor:
    """Return the sum and the mean over each graph's nodes, side by side: [N, H] → [B, 2 H]."""
    return torch.cat([global_add_pool(h, batch, num_graphs), global_mean_pool(h, batch, num_graphs)], 1)


class Head(nn.Sequential):
    """A hidden relu layer and the outputs: [B, in] → [B, K]."""

    def __init__(self, in_features: int, hidden_size: int, num_outputs: int, dropout: float) -> None:
        super().__init__(
            nn.Linear(in_features, hidden_size), nn.ReLU(), nn.Dropout(dropout), nn.Linear(hidden_size, num_outputs)
        )


class Counts(GraphNetwork):
    """An MLP on how often each atom and bond feature occurs, batch-normalised; the baseline that sees no edges.

    Args:
        num_features: width F of a node's features.
        num_edge_features: width G of an edge's features.
        num_outputs: number K of outputs.
        hidden_size: width of the hidden layer; 0 for a linear model.
        dropout: probability of dropping in the hidden layer.
    """

    def __init__(
        self,
        num_features: int,
        num_edge_features: int,
        num_outputs: int,
        hidden_size: NonNegativeInt = 128,
        dropout: ClosedUnitInterval = 0.0,
    ) -> None:
        super().__init__(num_features, num_edge_features, num_outputs, dropout)
        counts = num_features + num_edge_features
        self.norm = BatchNorm(counts, affine=False, allow_single_element=True)  # counts differ much in size
        self.head = Head(counts, hidden_size, num_outputs, dropout) if hidden_size else nn.Linear(counts, num_outputs)

    def forward(self, x: Tensor, edge_index: Tensor, edge_attr: Tensor, batch: Tensor, num_graphs: int) -> Tensor:
        """Return [B, K]."""
        bonds = global_add_pool(edge_attr, batch[edge_index[0]], num_graphs) / 2  # each is there in both directions
        return self.head(self.norm(torch.cat([global_add_pool(x, batch, num_graphs), bonds], 1)))


class GINE(GraphNetwork):
    """Hu et al. (2020): h_v⁺ = h_v + relu(MLP(h_v + Σ_u relu(h_u + W e_uv))), each MLP with batch norm.

    Args:
        num_features: width F of a node's features.
        num_edge_features: width G of an edge's features.
        num_outputs: number K of outputs.
        hidden_size: width H of the layers.
        num_layers: number of layers.
        dropout: probability of dropping after each layer.
    """

    def __init__(
        self,
        num_features: int,
        num_edge_features: int,
        num_outputs: int,
        hidden_size: PositiveInt = 64,
        num_layers: PositiveInt = 4,
        dropout: ClosedUnitInterval = 0.0,
    ) -> None:
        super().__init__(num_features, num_edge_features, num_outputs, dropout)
        H = hidden_size
        self.first = nn.Linear(num_features, H)
        self.layers = nn.ModuleList(
            GINEConv(
                nn.Sequential(
                    nn.Linear(H, 2 * H),
                    BatchNorm(2 * H, allow_single_element=True),
                    nn.ReLU(),
                    nn.Linear(2 * H, H),
                ),
                edge_dim=num_edge_features,
            )
            for _ in range(num_layers)
        )
        self.head = Head(2 * H, H, num_outputs, dropout)

    def forward(self, x: Tensor, edge_index: Tensor, edge_attr: Tensor, batch: Tensor, num_graphs: int) -> Tensor:
        """Return [B, K]."""
        h = relu(self.first(x))
        for layer in self.layers:
            h = h + self.drop(relu(layer(h, edge_index, edge_attr)))
        return self.head(pool(h, batch, num_graphs))


class DirectedMessages(GraphNetwork):
    """Yang et al. (2019), D-MPNN: messages live on directed edges, so none goes straight back where it came from.

    s_vw = W₁ [x_v, e_vw];  h⁰_vw = relu(s_vw);  h⁺_vw = relu(s_vw + W₂ Σ_{u ∈ N(v), u ≠ w} h_uv);
    h_v = relu(W₃ [x_v, Σ_u h_uv]).

    Args:
        num_features: width F of a node's features.
        num_edge_features: width G of an edge's features.
        num_outputs: number K of outputs.
        hidden_size: width H of the messages.
        num_layers: number of steps, the first included.
        dropout: probability of dropping after each step.
    """

    def __init__(
        self,
        num_features: int,
        num_edge_features: int,
        num_outputs: int,
        hidden_size: PositiveInt = 128,
        num_layers: PositiveInt = 4,
        dropout: ClosedUnitInterval = 0.0,
    ) -> None:
        super().__init__(num_features, num_edge_features, num_outputs, dropout)
        self.num_layers = num_layers
        self.first = nn.Linear(num_features + num_edge_features, hidden_size)
        self.step = nn.Linear(hidden_size, hidden_size, bias=False)
        self.nodes = nn.Linear(num_features + hidden_size, hidden_size)
        self.head = Head(2 * hidden_size, hidden_size, num_outputs, dropout)

    def forward(self, x: Tensor, edge_index: Tensor, edge_attr: Tensor, batch: Tensor, num_graphs: int) -> Tensor:
        """Return [B, K]."""
        source, target = edge_index
        back = reverse_edges(edge_index, len(x))
        start = self.first(torch.cat([x[source], edge_attr], 1))
        h = self.drop(relu(start))  # [E, H]
        for _ in range(self.num_layers - 1):
            arriving = global_add_pool(h, target, len(x))  # [N, H]
            h = self.drop(relu(start + self.step(arriving[source] - h[back])))
        h = self.drop(relu(self.nodes(torch.cat([x, global_add_pool(h, target, len(x))], 1))))
        return self.head(pool(h, batch, num_graphs))


def reverse_edges(edge_index: Tensor, num_nodes: int) -> Tensor:
    """Return the number of the edge w → v for each edge v → w.

    Raises:
        ValueError: if an edge is not there in both directions, equally often.
    """
    source, target = edge_index.long()
    there, back = source * num_nodes + target, target * num_nodes + source
    order, order_back = there.argsort(), back.argsort()
    if not torch.equal(there[order], back[order_back]):
        raise ValueError("directed messages need every edge in both directions: torch_geometric.utils.to_undirected")
    return torch.empty_like(order).index_copy_(0, order, order_back)


class AttentiveFP(GraphNetwork):
    """Xiong et al. (2020), PyG's network: attention and a GRU over the neighbours, then over the nodes of the graph.

    Args:
        num_features: width F of a node's features.
        num_edge_features: width G of an edge's features.
        num_outputs: number K of outputs.
        hidden_size: width of the layers.
        num_layers: number of layers over the neighbours.
        num_timesteps: number of steps over the nodes.
        dropout: probability of dropping.
    """

    def __init__(
        self,
        num_features: int,
        num_edge_features: int,
        num_outputs: int,
        hidden_size: PositiveInt = 64,
        num_layers: PositiveInt = 2,
        num_timesteps: PositiveInt = 2,
        dropout: ClosedUnitInterval = 0.0,
    ) -> None:
        super().__init__(num_features, num_edge_features, num_outputs, dropout)
        self.network = PyGAttentiveFP(
            num_features, hidden_size, num_outputs, num_edge_features, num_layers, num_timesteps, dropout
        )

    def forward(self, x: Tensor, edge_index: Tensor, edge_attr: Tensor, batch: Tensor, num_graphs: int) -> Tensor:
        """Return [B, K]."""
        return self.network(x, edge_index, edge_attr, batch)
