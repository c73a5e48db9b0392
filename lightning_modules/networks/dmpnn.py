"""D-MPNN, a directed message passing network: Yang et al. 2019, arXiv:1904.01561."""

import torch
from jsonargparse.typing import ClosedUnitInterval, PositiveInt
from torch import Tensor, nn
from torch.nn.functional import relu
from torch_geometric.nn import global_add_pool

from lightning_modules.networks.graph_network import GraphNetwork, Head, pool


class DMPNN(GraphNetwork):
    """Messages belong to directed edges: the message of v → w depends on all messages to v but that of w → v.

        s_vw  = W₁ [x_v, e_vw] + b₁,   h⁰_vw = relu(s_vw)
        h_vw⁺ = relu(s_vw + W₂ Σ_{u ∈ N(v), u ≠ w} h_uv)
        h_v   = relu(W₃ [x_v, Σ_u h_uv] + b₃)        after the last step

    Args:
        num_features: width F of a node's features.
        num_edge_features: width G of an edge's features.
        num_outputs: number K of outputs.
        hidden_size: width H of the messages.
        num_layers: number of steps; the first computes h⁰.
        dropout: dropout probability after each step and in the head.
    """

    def __init__(
        self, num_features: int, num_edge_features: int, num_outputs: int,
        hidden_size: PositiveInt = 128, num_layers: PositiveInt = 4, dropout: ClosedUnitInterval = 0.0,
    ) -> None:  # fmt: skip
        super().__init__(num_features, num_edge_features, num_outputs, dropout)
        self.num_layers = num_layers
        self.first = nn.Linear(num_features + num_edge_features, hidden_size)
        self.step = nn.Linear(hidden_size, hidden_size, bias=False)
        self.nodes = nn.Linear(num_features + hidden_size, hidden_size)
        self.head = Head(2 * hidden_size, hidden_size, num_outputs, dropout)

    def forward(self, x: Tensor, edge_index: Tensor, edge_attr: Tensor, batch: Tensor, num_graphs: int) -> Tensor:
        """Return outputs [B, K]."""
        source, target = edge_index
        back = reverse_edges(edge_index, len(x))
        start = self.first(torch.cat([x[source], edge_attr], 1))  # [E, H]
        h = self.drop(relu(start))
        for _ in range(self.num_layers - 1):
            arriving = global_add_pool(h, target, len(x))  # [N, H]
            h = self.drop(relu(start + self.step(arriving[source] - h[back])))
        h = self.drop(relu(self.nodes(torch.cat([x, global_add_pool(h, target, len(x))], 1))))  # [N, H]
        return self.head(pool(h, batch, num_graphs))


def reverse_edges(edge_index: Tensor, num_nodes: int) -> Tensor:
    """Return for each edge v → w the index of the edge w → v [E].

    Raises:
        ValueError: if an edge has no reverse edge, or not as many as itself where edges repeat.
    """
    source, target = edge_index.long()
    there, back = source * num_nodes + target, target * num_nodes + source
    order, order_back = there.argsort(), back.argsort()
    if not torch.equal(there[order], back[order_back]):
        raise ValueError("DMPNN needs every edge in both directions; see torch_geometric.utils.to_undirected")
    return torch.empty_like(order).index_copy_(0, order, order_back)
