"""SparseMatrix: products, gradients and dropout."""

import pytest
import torch

from lightning_modules.networks.sparse_matrix import SparseMatrix


def test_it_equals_the_dense_matrix() -> None:
    torch.manual_seed(0)
    dense = torch.randn(5, 8) * (torch.rand(5, 8) < 0.4)
    dense[2] = 0
    matrix, right = SparseMatrix.from_csr(dense.to_sparse_csr()), torch.randn(8, 3, requires_grad=True)
    product = matrix @ right
    torch.testing.assert_close(product, dense @ right)
    (gradient,) = torch.autograd.grad(product.square().sum(), right)
    torch.testing.assert_close(gradient, 2 * dense.T @ (dense @ right))
    several = torch.randn(2, 3, 8, 3)
    torch.testing.assert_close(matrix @ several, dense @ several)
    with pytest.raises(ValueError, match="get no gradient; use a dense matrix"):
        SparseMatrix.from_csr(dense.to_sparse_csr().requires_grad_())
    dropped = matrix.dropout(0.5)
    torch.testing.assert_close(dropped.rows.to_dense(), dropped.columns.to_dense().T)
    kept = dropped.rows.to_dense() != 0
    torch.testing.assert_close(dropped.rows.to_dense()[kept], 2 * dense[kept])
    assert 0 < kept.sum() < (dense != 0).sum()
