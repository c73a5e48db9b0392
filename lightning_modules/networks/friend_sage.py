"""GraphSAGE (Hamilton, Ying & Leskovec 2017, arXiv:1706.02216) for link prediction, such as friend recommendation."""

import torch
from jsonargparse.typing import ClosedUnitInterval, NonNegativeInt, PositiveInt
from torch import Tensor, nn
from torch.nn.functional import dropout, relu

from lightning_modules.networks.checks import check_edges, require
from lightning_modules.networks.graph_cache import once_per_graph
from lightning_modules.networks.sparse_matrix import SparseMatrix, entries_dtype


class FriendSAGE(nn.Module):
    """s_ij = z_i · z_j + b_j, with z computed by GraphSAGE layers from learned embeddings of the nodes.

    A layer is h_i⁺ = relu(W₁ h_i + c + W₂ mean of h_j over the edges j → i); the last layer has no relu. The nodes need
    no features. There is a single relation, so `relations` and `edge_type` are ignored.

    Args:
        num_nodes: number N of nodes.
        hidden_size: width H of embeddings and layers.
        num_layers: number of layers; 0 for plain embeddings.
        dropout: dropout probability of the embeddings and between layers.

    Raises:
        ValueError: if the data module defines no num_nodes.
    """

    def __init__(
        self, num_nodes: int,
        hidden_size: PositiveInt = 128, num_layers: NonNegativeInt = 1, dropout: ClosedUnitInterval = 0.5,
    ) -> None:  # fmt: skip
        super().__init__()
        require(self, num_nodes=num_nodes)
        self.p = dropout
        self.nodes = nn.Parameter(torch.randn(num_nodes, hidden_size) / hidden_size**0.5)
        self.bias = nn.Parameter(torch.zeros(num_nodes))
        self.own = nn.ModuleList(nn.Linear(hidden_size, hidden_size) for _ in range(num_layers))
        self.neighbours = nn.ModuleList(nn.Linear(hidden_size, hidden_size, bias=False) for _ in range(num_layers))

    def forward(self, heads: Tensor, relations: Tensor, edge_index: Tensor, edge_type: Tensor) -> Tensor:
        """Return the scores [B, N] of all nodes as friends of the heads [B]."""
        z = self.encode(edge_index)
        return torch.addmm(self.bias, z[heads], z.T)

    def encode(self, edge_index: Tensor) -> Tensor:
        """Return z of all nodes [N, H]."""
        mean = once_per_graph(mean_adjacency, edge_index, len(self.nodes), self.nodes.dtype)
        h = dropout(self.nodes, self.p, self.training)
        for depth, (own, neighbours) in enumerate(zip(self.own, self.neighbours, strict=True)):
            if depth:
                h = dropout(relu(h), self.p, self.training)
            h = own(h) + mean @ neighbours(h)
        return h


def mean_adjacency(edge_index: Tensor, N: int, dtype: torch.dtype | None = None) -> SparseMatrix:
    """Return D⁻¹ A [N, N]: row i averages over the nodes j with an edge j → i, and is zero without such edges.

    Raises:
        ValueError: if a node does not exist.
    """
    check_edges(edge_index, N)
    source, target = edge_index.long()
    weights = 1 / torch.bincount(target, minlength=N)[target].to(entries_dtype(dtype))
    return SparseMatrix.from_entries(target, source, weights, (N, N))
