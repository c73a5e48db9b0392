"""Link prediction without learned weights: the baselines of every trained network.

All are called as `score(heads, relations, edge_index, edge_type, N)` with the training links, and return scores [B, N].
Legend: B queries, N nodes, E edges, Γ(i) the set of neighbours of node i, d degree.
"""

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

from kernels.dtypes import without_autocast
from lightning_modules.networks.graph_cache import once_per_graph

Baseline = Literal["popularity", "relation_frequency", "common_neighbours", "adamic_adar"]


def popularity(heads: Tensor, relations: Tensor, edge_index: Tensor, edge_type: Tensor, N: int) -> Tensor:
    """Score a node by its number of links, the same for every query."""
    return torch.bincount(edge_index[1], minlength=N).float().expand(len(heads), N)


def relation_frequency(heads: Tensor, relations: Tensor, edge_index: Tensor, edge_type: Tensor, N: int) -> Tensor:
    """Score a node by its number of links as the tail of the query's relation, the same for every head."""
    R = int(torch.cat([edge_type, relations]).max()) + 1
    return torch.bincount(edge_type * N + edge_index[1], minlength=R * N).view(R, N)[relations].float()


def common_neighbours(heads: Tensor, relations: Tensor, edge_index: Tensor, edge_type: Tensor, N: int) -> Tensor:
    """Score a node j by the neighbours it has in common with the head i: |Γ(i) ∩ Γ(j)|."""
    adjacency = once_per_graph(adjacency_matrix, edge_index, N)
    return _shared(heads, adjacency, torch.ones(N, dtype=torch.float32, device=edge_index.device))


def adamic_adar(heads: Tensor, relations: Tensor, edge_index: Tensor, edge_type: Tensor, N: int) -> Tensor:
    """Score a node j by Σ_{k ∈ Γ(i) ∩ Γ(j)} 1 / log d_k (Adamic & Adar 2003, doi:10.1016/S0378-8733(03)00009-1)."""
    adjacency = once_per_graph(adjacency_matrix, edge_index, N)
    degree = adjacency.crow_indices().diff().clamp(min=2)  # a common neighbour of two nodes has degree 2 or more
    return _shared(heads, adjacency, 1 / degree.float().log())


def adjacency_matrix(edge_index: Tensor, N: int) -> Tensor:
    """Return A [N, N], torch.sparse_csr, with a 1 for each linked pair, also where links repeat."""
    ones = torch.ones(edge_index.shape[1], dtype=torch.float32, device=edge_index.device)
    adjacency = torch.sparse_coo_tensor(edge_index, ones, (N, N), check_invariants=False).coalesce().to_sparse_csr()
    adjacency.values().fill_(1)
    return adjacency


def _shared(heads: Tensor, adjacency: Tensor, weights: Tensor) -> Tensor:
    """Return the rows of A diag(weights) A that belong to the heads [B, N]; A is symmetric."""
    one_hot = weights.new_zeros(len(weights), len(heads))
    one_hot[heads, torch.arange(len(heads), device=heads.device)] = 1
    with without_autocast(weights.device):
        return (adjacency @ (weights[:, None] * (adjacency @ one_hot))).T


BASELINES: dict[str, Callable[[Tensor, Tensor, Tensor, Tensor, int], Tensor]] = {
    "popularity": popularity,
    "relation_frequency": relation_frequency,
    "common_neighbours": common_neighbours,
    "adamic_adar": adamic_adar,
}
