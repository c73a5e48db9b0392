"""A sparse matrix that is quick on both sides of backpropagation: its rows and its columns in order."""

from typing import Any, NamedTuple, Self

import torch
from torch import Tensor, nn
from torch.nn.functional import dropout

from kernels.dtypes import without_autocast


class SparseMatrix(NamedTuple):
    """A sparse matrix [N, M] beside its transpose, both in compressed rows: `matrix @ dense` with a fast gradient.

    torch's own product with a CSR matrix transposes it anew in every backward pass. No gradient goes to the values:
    those that want one are refused. The product is taken in the matrix's precision, under autocast too, and given in
    that of the dense matrix; torch has no 16-bit one on a CPU.

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
        """Make one from the row, column and value of every entry [n]; those at one place are added.

        Raises:
            ValueError: if the values want a gradient.
        """
        matrix = torch.sparse_coo_tensor(torch.stack([rows, columns]), values, shape, check_invariants=False)
        return cls.from_csr(matrix.coalesce().to_sparse_csr())

    @classmethod
    def from_csr(cls, matrix: Tensor) -> Self:
        """Make one from a torch.sparse_csr tensor.

        Raises:
            ValueError: if its values want a gradient.
        """
        if matrix.requires_grad:
            raise ValueError("a SparseMatrix passes no gradient to its values; take a dense matrix, or detach them")
        numbered = _with_values(matrix, torch.arange(1, matrix.values().numel() + 1, device=matrix.device))
        numbered = numbered.t().to_sparse_csr()  # values from 1, so that none is a zero
        order = numbered.values() - 1
        # detach() returns another tensor of the same values, so that what is kept of `matrix` does not keep it alive.
        return cls(matrix.detach(), _with_values(numbered, matrix.values()[order]), order)

    def dropout(self, p: float) -> Self:
        """Drop values with probability p and scale the others by 1/(1 − p); zeros stay zeros, as in any dropout."""
        values = dropout(self.rows.values(), p)
        return type(self)(_with_values(self.rows, values), _with_values(self.columns, values[self.order]), self.order)

    def __matmul__(self, dense: Tensor) -> Tensor:
        """Return the product […, N, K] with a dense matrix [M, K], or with each of several […, M, K]."""
        if dense.dim() <= 2:
            return _Product.apply(dense, self.rows, self.columns)
        flat = dense.movedim(-2, 0)  # [M, …, K]
        product = _Product.apply(flat.reshape(len(flat), -1), self.rows, self.columns)
        return product.view(-1, *flat.shape[1:]).movedim(0, -2)

    def to(self, device: torch.device) -> Self:
        """Return the matrix on a device."""
        return type(self)(*(tensor.to(device) for tensor in self))


def _with_values(matrix: Tensor, values: Tensor) -> Tensor:
    return torch.sparse_csr_tensor(
        matrix.crow_indices(), matrix.col_indices(), values, matrix.shape, check_invariants=False
    )


def entries_dtype(dtype: torch.dtype | None = None) -> torch.dtype:
    """Return the dtype of a matrix's entries: that of what it multiplies, or the default; no less than 32 bits."""
    return torch.promote_types(dtype or torch.get_default_dtype(), torch.float32)


def check_edges(edge_index: Tensor, N: int) -> None:
    """See that edges [2, E] join nodes 0 to N − 1: sparse matrices do not check it, and a node −1 would be the last.

    Raises:
        ValueError: if one does not.
    """
    if edge_index.dim() != 2 or edge_index.shape[0] != 2 or edge_index.is_floating_point():
        raise ValueError(f"edge_index must be whole numbers [2, E], got {edge_index.dtype} {[*edge_index.shape]}")
    if edge_index.numel():
        least, greatest = map(int, edge_index.aminmax())
        if least < 0 or greatest >= N:
            raise ValueError(f"edges must join nodes 0..{N - 1}, got {least if least < 0 else greatest}")


class SparseLinear(nn.Module):
    """A linear layer on features that may be sparse: x W + b, or x W."""

    def __init__(self, in_features: int, out_features: int, bias: bool = True) -> None:
        super().__init__()
        self.weight = nn.Parameter(nn.init.xavier_uniform_(torch.empty(in_features, out_features)))
        self.bias = nn.Parameter(torch.zeros(out_features)) if bias else None

    def forward(self, x: Tensor | SparseMatrix) -> Tensor:
        """Return [N, out]."""
        return x @ self.weight if self.bias is None else x @ self.weight + self.bias


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
