"""A sparse matrix stored by rows and by columns, and a linear layer on sparse features."""

from typing import Any, NamedTuple, Self

import torch
from torch import Tensor, nn
from torch.nn.functional import dropout, embedding_bag

from kernels.dtypes import without_autocast


class SparseMatrix(NamedTuple):
    """A sparse matrix [N, M] and its transpose, both in CSR format: `matrix @ dense` with a fast backward pass.

    The backward pass of torch's own CSR product transposes the matrix each time. Here the transpose is kept.

    The values get no gradient. The product is computed in the matrix's dtype, also under autocast, and returned in the
    dtype of the dense matrix: on a CPU torch has no sparse product in 16 bits.

    Args:
        rows: the matrix, torch.sparse_csr [N, M].
        columns: its transpose, torch.sparse_csr [M, N].
        order: for each value of `columns`, its index among the values of `rows`.
    """

    rows: Tensor
    columns: Tensor
    order: Tensor

    @classmethod
    def from_entries(cls, rows: Tensor, columns: Tensor, values: Tensor, shape: tuple[int, int]) -> Self:
        """Return the matrix with the given row, column and value of each entry [n]; duplicates are summed.

        Raises:
            ValueError: if the values require a gradient.
        """
        matrix = torch.sparse_coo_tensor(torch.stack([rows, columns]), values, shape, check_invariants=False)
        return cls.from_csr(matrix.coalesce().to_sparse_csr())

    @classmethod
    def from_csr(cls, matrix: Tensor) -> Self:
        """Return a torch.sparse_csr tensor as a SparseMatrix.

        Raises:
            ValueError: if its values require a gradient.
        """
        if matrix.requires_grad:
            raise ValueError("the values of a SparseMatrix get no gradient; use a dense matrix, or detach them")
        # Transposing a matrix of the values' numbers gives their order. They start at 1, since zeros could be dropped.
        numbered = _with_values(matrix, torch.arange(1, matrix.values().numel() + 1, device=matrix.device))
        numbered = numbered.t().to_sparse_csr()
        order = numbered.values() - 1
        # detach() makes a new tensor of the same values: the cache must not keep the tensor itself alive.
        return cls(matrix.detach(), _with_values(numbered, matrix.values()[order]), order)

    def dropout(self, p: float) -> Self:
        """Return the matrix with each value dropped with probability p, and the others scaled by 1/(1 − p)."""
        values = dropout(self.rows.values(), p)
        return type(self)(_with_values(self.rows, values), _with_values(self.columns, values[self.order]), self.order)

    def __matmul__(self, dense: Tensor) -> Tensor:
        """Return the product [N, K] with a dense matrix [M, K], or the products […, N, K] with several […, M, K]."""
        if dense.dim() <= 2:
            return _Product.apply(dense, self.rows, self.columns)
        flat = dense.movedim(-2, 0)  # [M, …, K]
        product = _Product.apply(flat.reshape(len(flat), -1), self.rows, self.columns)
        return product.view(-1, *flat.shape[1:]).movedim(0, -2)

    def rows_of_product(self, rows: Tensor, dense: Tensor) -> Tensor:
        """Return `(matrix @ dense)[rows]` [n, K] for a dense matrix [M, K]; no other rows are computed."""
        starts, columns, values = self.rows.crow_indices(), self.rows.col_indices(), self.rows.values()
        first = starts[rows]
        counts = starts[rows + 1] - first  # [n] entries of each row
        offsets = counts.cumsum(0) - counts  # where the entries of each row begin among those of all chosen rows
        chosen = (first - offsets).repeat_interleave(counts)
        chosen = chosen + torch.arange(len(chosen), device=chosen.device)
        with without_autocast(dense.device):
            product = embedding_bag(
                columns[chosen], dense.to(values.dtype), offsets, mode="sum", per_sample_weights=values[chosen]
            )
        return product.to(dense.dtype)


class SparseLinear(nn.Module):
    """A linear layer on features that may be sparse: x W + b, or x W without bias.

    Args:
        in_features: width of the input.
        out_features: width of the output.
        bias: whether to add b.
    """

    def __init__(self, in_features: int, out_features: int, bias: bool = True) -> None:
        super().__init__()
        self.weight = nn.Parameter(nn.init.xavier_uniform_(torch.empty(in_features, out_features)))
        self.bias = nn.Parameter(torch.zeros(out_features)) if bias else None

    def forward(self, x: Tensor | SparseMatrix) -> Tensor:
        """Return [N, out] for features [N, in]."""
        return x @ self.weight if self.bias is None else x @ self.weight + self.bias


def entries_dtype(dtype: torch.dtype | None = None) -> torch.dtype:
    """Return the dtype for a matrix that multiplies features of `dtype` (torch's default if None): at least 32 bits."""
    return torch.promote_types(dtype or torch.get_default_dtype(), torch.float32)


def _with_values(matrix: Tensor, values: Tensor) -> Tensor:
    return torch.sparse_csr_tensor(
        matrix.crow_indices(), matrix.col_indices(), values, matrix.shape, check_invariants=False
    )


def _multiply(matrix: Tensor, dense: Tensor) -> Tensor:
    with without_autocast(dense.device):
        return (matrix @ dense.to(matrix.dtype)).to(dense.dtype)


class _Product(torch.autograd.Function):
    """Y = A X, and the gradient ∂L/∂X = Aᵀ ∂L/∂Y."""

    @staticmethod
    def forward(ctx: Any, dense: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
        ctx.columns = columns
        return _multiply(rows, dense)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        return _multiply(ctx.columns, gradient), None, None
