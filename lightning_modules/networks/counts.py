"""A network on the sums of all node and edge features: the baseline that ignores how a graph is connected."""

import torch
from jsonargparse.typing import ClosedUnitInterval, NonNegativeInt
from torch import Tensor, nn
from torch_geometric.nn import BatchNorm, global_add_pool

from lightning_modules.networks.graph_network import GraphNetwork, Head


class Counts(GraphNetwork):
    """An MLP on batch-normalised sums: for one-hot features, the counts of each kind of atom and bond.

    Args:
        num_features: width F of a node's features.
        num_edge_features: width G of an edge's features.
        num_outputs: number K of outputs.
        hidden_size: width H of the hidden layer; 0 for a linear model.
        dropout: dropout probability in the hidden layer.
    """

    def __init__(
        self, num_features: int, num_edge_features: int, num_outputs: int,
        hidden_size: NonNegativeInt = 128, dropout: ClosedUnitInterval = 0.0,
    ) -> None:  # fmt: skip
        super().__init__(num_features, num_edge_features, num_outputs, dropout)
        counts = num_features + num_edge_features
        self.norm = BatchNorm(counts, affine=False, allow_single_element=True)  # counts differ widely in scale
        self.head = Head(counts, hidden_size, num_outputs, dropout) if hidden_size else nn.Linear(counts, num_outputs)

    def forward(self, x: Tensor, edge_index: Tensor, edge_attr: Tensor, batch: Tensor, num_graphs: int) -> Tensor:
        """Return outputs [B, K]."""
        bonds = global_add_pool(edge_attr, batch[edge_index[0]], num_graphs) / 2  # a bond is two directed edges
        return self.head(self.norm(torch.cat([global_add_pool(x, batch, num_graphs), bonds], 1)))
