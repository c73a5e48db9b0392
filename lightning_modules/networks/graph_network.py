"""Base class and shared parts of the networks that predict a property of a whole graph, such as a molecule.

A subclass is called as `network(x, edge_index, edge_attr, batch, num_graphs)` on a PyG batch of graphs and returns
outputs [B, K]. Legend: B graphs; N nodes and E edges of all graphs together; F, G features of a node and of an edge;
H hidden units; K outputs.
"""

import torch
from torch import Tensor, nn
from torch.nn.functional import dropout
from torch_geometric.nn import global_add_pool, global_mean_pool

from lightning_modules.networks.checks import require


class GraphNetwork(nn.Module):
    """Base class: the check of the sizes, and dropout.

    Args:
        num_features: width F of a node's features.
        num_edge_features: width G of an edge's features.
        num_outputs: number K of classes, or 1 for regression.
        dropout: dropout probability.

    Raises:
        ValueError: if the data module does not define one of the sizes.
    """

    def __init__(self, num_features: int, num_edge_features: int, num_outputs: int, dropout: float) -> None:
        super().__init__()
        require(self, num_features=num_features, num_edge_features=num_edge_features, num_outputs=num_outputs)
        self.p = dropout

    def drop(self, h: Tensor) -> Tensor:
        """Return features after dropout."""
        return dropout(h, self.p, self.training)


def pool(h: Tensor, batch: Tensor, num_graphs: int) -> Tensor:
    """Return sum and mean over each graph's nodes, concatenated: [N, H] → [B, 2 H]."""
    return torch.cat([global_add_pool(h, batch, num_graphs), global_mean_pool(h, batch, num_graphs)], 1)


class Head(nn.Sequential):
    """A hidden layer with relu and dropout, then the outputs: [B, in] → [B, K]."""

    def __init__(self, in_features: int, hidden_size: int, num_outputs: int, dropout: float) -> None:
        super().__init__(
            nn.Linear(in_features, hidden_size), nn.ReLU(), nn.Dropout(dropout), nn.Linear(hidden_size, num_outputs)
        )
