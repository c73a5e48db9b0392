"""Base class of the networks that tell a property of a whole graph, and what they share.

All are called as `network(x, edge_index, edge_attr, batch, num_graphs)` on graphs side by side and return [B, K].
Legend: B graphs, N nodes and E edges of all of them, F and G features of a node and of an edge, H hidden, K outputs.
"""

import torch
from torch import Tensor, nn
from torch.nn.functional import dropout
from torch_geometric.nn import global_add_pool, global_mean_pool


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
