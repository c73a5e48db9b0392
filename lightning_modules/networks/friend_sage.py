"""GraphSAGE (Hamilton, Ying & Leskovec 2017) for links between nodes without features, such as friendships."""

import torch
from jsonargparse.typing import ClosedUnitInterval, NonNegativeInt, PositiveInt
from torch import Tensor, nn
from torch.nn.functional import dropout, relu

from lightning_modules.networks.graph_cache import once_per_graph
from lightning_modules.networks.sparse_matrix import SparseMatrix, check_edges, entries_dtype


class FriendSAGE(nn.Module):
    """GraphSAGE (Hamilton, Ying & Leskovec 2017) on nodes without features: s_ij = z_i · z_j + b_j.

    z is made of free embeddings by layers h⁺ = relu(W₁ h + W₂ mean of the neighbours' h), the last without relu. Since
    there is one relation, it is not looked at.

    Args:
        num_nodes: number N of nodes.
        hidden_size: width H of all layers.
        num_layers: number of layers, 0 for the embeddings alone.
        dropout: probability of dropping from the embeddings and between layers.

    Raises:
        ValueError: if the data do not tell their number of nodes.
    """

    def __init__(
        self,
        num_nodes: int,
        hidden_size: PositiveInt = 128,
        num_layers: NonNegativeInt = 1,
        dropout: ClosedUnitInterval = 0.5,
    ) -> None:
        super().__init__()
        if not num_nodes:
            raise ValueError("FriendSAGE needs num_nodes, and the data tell none")
        self.p = dropout
        self.nodes = nn.Parameter(torch.randn(num_nodes, hidden_size) / hidden_size**0.5)
        self.bias = nn.Parameter(torch.zeros(num_nodes))
        self.own = nn.ModuleList(nn.Linear(hidden_size, hidden_size) for _ in range(num_layers))
        self.neighbours = nn.ModuleList(nn.Linear(hidden_size, hidden_size, bias=False) for _ in range(num_layers))

    def forward(self, heads: Tensor, relations: Tensor, edge_index: Tensor, edge_type: Tensor) -> Tensor:
        """Return scores [B, N]."""
        z = self.encode(edge_index)
        return torch.addmm(self.bias, z[heads], z.T)

    def encode(self, edge_index: Tensor) -> Tensor:
        """Return z [N, H]."""
        mean = once_per_graph(mean_adjacency, edge_index, len(self.nodes), self.nodes.dtype)
        h = dropout(self.nodes, self.p, self.training)
        for depth, (own, neighbours) in enumerate(zip(self.own, self.neighbours, strict=True)):
            if depth:
                h = dropout(relu(h), self.p, self.training)
            h = own(h) + mean @ neighbours(h)
        return h


def mean_adjacency(edge_index: Tensor, N: int, dtype: torch.dtype | None = None) -> SparseMatrix:
    """Return D⁻¹ A [N, N]: its row i takes the mean over the nodes that have an edge to i, or zero.

    Raises:
        ValueError: if an edge joins no node.
    """
    check_edges(edge_index, N)
    source, target = edge_index.long()
    weights = 1 / torch.bincount(target, minlength=N)[target].to(entries_dtype(dtype))
    return SparseMatrix.from_entries(target, source, weights, (N, N))
