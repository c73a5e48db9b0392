"""D-MPNN (Yang et al. 2019), whose messages live on directed edges."""

import torch
from jsonargparse.typing import ClosedUnitInterval, PositiveInt
from torch import Tensor, nn
from torch.nn.functional import relu
from torch_geometric.nn import global_add_pool

from lightning_modules.networks.graph_network import GraphNetwork, Head, pool


class DMPNN(GraphNetwork):
    """Yang et al. (2019): messages live on directed edges, so none goes straight back where it came from.

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
