"""Scorers of links without weights: what every trained network has to beat.

All are called as `score(heads, relations, edge_index, edge_type, N)` and return scores [B, N], from the training links
alone. Legend: B queries, N nodes, E edges, Γ(i) neighbours of i, d degree.
"""

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

from kernels.dtypes import without_autocast
from lightning_modules.networks.graph_cache import once_per_graph

Baseline = Literal["popularity", "relation_frequency", "common_neighbours", "adamic_adar"]


def popularity(heads: Tensor, relations: Tensor, edge_index: Tensor, edge_type: Tensor, N: int) -> Tensor:
    """Score a node by its number of links, whoever asks; sees no neighbourhood."""
    return torch.bincount(edge_index[1], minlength=N).float().expand(len(heads), N)


def relation_frequency(heads: Tensor, relations: Tensor, edge_index: Tensor, edge_type: Tensor, N: int) -> Tensor:
    """Score a node by how often it is at the end of the relation, whoever asks; sees no graph."""
    R = int(torch.cat([edge_type, relations]).max()) + 1
    return torch.bincount(edge_type * N + edge_index[1], minlength=R * N).view(R, N)[relations].float()


def common_neighbours(heads: Tensor, relations: Tensor, edge_index: Tensor, edge_type: Tensor, N: int) -> Tensor:
    """Score a node by the neighbours that it shares with the one who asks: |Γ(i) ∩ Γ(j)|."""
    return _shared(
        heads,
        once_per_graph(adjacency_matrix, edge_index, N),
        torch.ones(N, dtype=torch.float32, device=edge_index.device),
    )


def adamic_adar(heads: Tensor, relations: Tensor, edge_index: Tensor, edge_type: Tensor, N: int) -> Tensor:
    """Adamic & Adar (2003): shared neighbours weighed by rarity, Σ_{k ∈ Γ(i) ∩ Γ(j)} 1 / log d_k."""
    adjacency = once_per_graph(adjacency_matrix, edge_index, N)
    degree = adjacency.crow_indices().diff().clamp(min=2)  # one shared by two has two neighbours or more
    return _shared(heads, adjacency, 1 / degree.float().log())


def adjacency_matrix(edge_index: Tensor, N: int) -> Tensor:
    """Return A [N, N], torch.sparse_csr, with a one for each pair that is linked, however often."""
    ones = torch.ones(edge_index.shape[1], dtype=torch.float32, device=edge_index.device)
    adjacency = torch.sparse_coo_tensor(edge_index, ones, (N, N), check_invariants=False).coalesce().to_sparse_csr()
    adjacency.values().fill_(1)
    return adjacency


def _shared(heads: Tensor, adjacency: Tensor, weights: Tensor) -> Tensor:
    """Return A[heads] diag(weights) A with the adjacency matrix A, as a sparse product."""
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
