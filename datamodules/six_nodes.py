"""The practical's graph of six nodes, small enough to follow every number by hand.

A – B   A – E   A – F   B – D   C – D   D – F
"""

import torch
from torch import Tensor

NAMES = "ABCDEF"
EDGES = ("AB", "AE", "AF", "BD", "CD", "DF")


def six_nodes() -> Tensor:
    """Return the edges in both directions [2, 12], nodes by their place in the alphabet."""
    there = [(NAMES.index(edge[0]), NAMES.index(edge[1])) for edge in EDGES]
    return torch.tensor(there + [(b, a) for a, b in there]).T.contiguous()


def adjacency(edge_index: Tensor, N: int) -> Tensor:
    """Return Ã = A + I [N, N]: who reaches whom in one layer, itself included."""
    return torch.eye(N, dtype=torch.int64).index_put_((edge_index[1], edge_index[0]), torch.tensor(1))


def reach(edge_index: Tensor, N: int, layers: int) -> Tensor:
    """Return whether what node j knows can have come to node i after so many layers: (Ã^layers)_ij > 0, [N, N]."""
    return torch.linalg.matrix_power(adjacency(edge_index, N), layers) > 0
