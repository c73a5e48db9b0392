"""A sparse matrix that is quick on both sides of backpropagation: its rows and its columns in order."""

from typing import Any, NamedTuple, Self

import torch
from torch import Tensor
from torch.nn.functional import dropout

from kernels.dtypes import without_autocast


class SparseMatrix(NamedTuple):
    """A sparse matrix [N, M] beside its transpose, both in compressed rows: `matrix @ dense` with a fast gradient.

    torch's own product with a CSR matrix transposes it anew in every backward pass. No gradient goes to the values. The
    product is taken in the matrix's precision, under autocast too, and given in that of the dense matrix; torch has no
    16-bit one on a CPU.

    Args:
        rows: the matrix, torch.sparse_csr [N, M].
        columns: its transpose, torch.sparse_csr [M, N].
        order: place among the values of `rows` of each value of `columns`.
    """

    rows: Tensor
    columns: Tensor
    order: Tensor

    @classmethod
    def from_entries(cls, rows: Tensor, columns: Tensor, values: Tensor, shape: tuple[int, int]) -> Self:
        """Make one from the row, column and value of every entry [n]; those at one place are added."""
        matrix = torch.sparse_coo_tensor(torch.stack([rows, columns]), values, shape, check_invariants=False)
        return cls.from_csr(matrix.coalesce().to_sparse_csr())

    @classmethod
    def from_csr(cls, matrix: Tensor) -> Self:
        """Make one from a torch.sparse_csr tensor."""
        numbered = _with_values(matrix, torch.arange(1, matrix.values().numel() + 1, device=matrix.device))
        numbered = numbered.t().to_sparse_csr()  # values from 1, so that none is a zero
        order = numbered.values() - 1
        return cls(matrix, _with_values(numbered, matrix.values()[order]), order)

    def dropout(self, p: float) -> Self:
        """Drop values with probability p and scale the others by 1/(1 − p); zeros stay zeros, as in any dropout."""
        values = dropout(self.rows.values(), p)
        return type(self)(_with_values(self.rows, values), _with_values(self.columns, values[self.order]), self.order)

    def __matmul__(self, dense: Tensor) -> Tensor:
        """Return the product [N, …] with a dense matrix [M, …]."""
        return _Product.apply(dense, self.rows, self.columns)

    def to(self, device: torch.device) -> Self:
        """Return the matrix on a device."""
        return type(self)(*(tensor.to(device) for tensor in self))


def _with_values(matrix: Tensor, values: Tensor) -> Tensor:
    return torch.sparse_csr_tensor(
        matrix.crow_indices(), matrix.col_indices(), values, matrix.shape, check_invariants=False
    )


def entries_dtype() -> torch.dtype:
    """Return the dtype of a matrix that is made of counts: the default one, but of no less than 32 bits."""
    return torch.promote_types(torch.get_default_dtype(), torch.float32)


def _multiply(matrix: Tensor, dense: Tensor) -> Tensor:
    with without_autocast(dense.device):
        return (matrix @ dense.to(matrix.dtype)).to(dense.dtype)


class _Product(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, dense: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
        ctx.columns = columns
        return _multiply(rows, dense)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        return _multiply(ctx.columns, gradient), None, None
