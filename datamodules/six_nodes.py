"""The graph of six nodes of the practical (University of Amsterdam, Deep Learning, 2020), small enough for a pencil.

A – B   A – E   A – F   B – D   C – D   D – F
"""

import torch
from torch import Tensor

NAMES = "ABCDEF"
EDGES = ("AB", "AE", "AF", "BD", "CD", "DF")


def six_nodes() -> Tensor:
    """Return the edges in both directions [2, 12]; nodes are numbered in alphabetical order."""
    there = [(NAMES.index(edge[0]), NAMES.index(edge[1])) for edge in EDGES]
    return torch.tensor(there + [(b, a) for a, b in there]).T.contiguous()


def adjacency(edge_index: Tensor, N: int) -> Tensor:
    """Return Ã = A + I [N, N]: the nodes from which each node receives in one layer."""
    return torch.eye(N, dtype=torch.int64).index_put_((edge_index[1], edge_index[0]), torch.tensor(1))


def reach(edge_index: Tensor, N: int, layers: int) -> Tensor:
    """Return whether node i can depend on node j after a number of layers: (Ã^layers)_ij > 0, [N, N]."""
    return torch.linalg.matrix_power(adjacency(edge_index, N), layers) > 0
