"""Vectors of the nodes of a graph from the eigenvectors of its weights.

Levy & Goldberg 2014 ("Neural word embedding as implicit matrix factorization") factorise the matrix of pointwise mutual
information: words with similar neighbours get similar vectors.
"""

import torch
from torch import Tensor

from lightning_modules.networks.sparse_matrix import SparseMatrix

EXTRA, ROUNDS = 16, 8  # vectors beyond those asked for, and products; more change the leading vectors little


@torch.no_grad()
def spectral_vectors(edge_index: Tensor, edge_weight: Tensor, N: int, D: int) -> Tensor:
    """Return |Λ|^½ Q for the D eigenvalues Λ of largest modulus, scaled to a mean square of 1 [N, D].

    They are found by subspace iteration with random starting vectors (Halko et al. 2011, arXiv:0909.4061).

    Args:
        edge_index: edges in both directions [2, E].
        edge_weight: weights of the edges, the same in both directions [E].
        N: number of nodes. If N < D, the last columns are 0.
        D: number of eigenvectors.
    """
    matrix = SparseMatrix.from_entries(edge_index[1], edge_index[0], edge_weight.detach(), (N, N))
    q = torch.randn(N, min(D + EXTRA, N), dtype=edge_weight.dtype, device=edge_weight.device)
    for _ in range(ROUNDS):
        q, _ = torch.linalg.qr(matrix @ q)
    values, rotation = torch.linalg.eigh(q.T @ (matrix @ q))
    leading = values.abs().argsort(descending=True)[:D]
    vectors = q @ rotation[:, leading] * values[leading].abs().sqrt()
    vectors = vectors / vectors.square().mean().sqrt().clamp(min=torch.finfo(vectors.dtype).tiny)
    return torch.nn.functional.pad(vectors, (0, D - vectors.shape[1]))
