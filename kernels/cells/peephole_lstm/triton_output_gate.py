"""The output gate of the full peephole, which is no part of its loop: h = tanh(c) ⊙ o, and its gradient.

A kernel each, over all steps or over one. Gates stand in the last H of a row's columns, which are H, or 4H with the
gates that the loop has.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from kernels.triton.launch import launch_over_rows
from kernels.triton.tiles import load_float32, tanh


def output_state(cells: Tensor, gates: Tensor, dtype: torch.dtype) -> Tensor:
    """Return h […, H] in a dtype.

    Args:
        cells: c […, H].
        gates: with õ, contiguous.
        dtype: of the result.
    """
    hidden = torch.empty_like(cells, dtype=dtype)
    launch_over_rows(output_kernel, (cells, gates), (hidden,), cells.shape[-1], WIDTH=gates.shape[-1])
    return hidden


def output_gradient(grad: Tensor, cells: Tensor, gates: Tensor, grad_gates: Tensor) -> Tensor:
    """Return ∂c […, H], the gradient through h alone, and write δo.

    Args:
        grad: ∂h […, H].
        cells: as of `output_state`.
        gates: as of `output_state`.
        grad_gates: whose columns are those of `gates`; there may be more rows.
    """
    grad_cells = torch.empty_like(cells)
    given, taken = (grad, cells, gates), (grad_gates, grad_cells)
    launch_over_rows(output_gradient_kernel, given, taken, cells.shape[-1], WIDTH=gates.shape[-1])
    return grad_cells


@triton.jit(do_not_specialize=["count"])
def output_kernel(
    cells: tl.tensor, gates: tl.tensor, hidden: tl.tensor, count: tl.tensor, H: tl.constexpr, WIDTH: tl.constexpr,
    BLOCK_ROWS: tl.constexpr, BLOCK_H: tl.constexpr,
) -> None:  # fmt: skip
    """Fill `hidden` […, H] with h = tanh(c) ⊙ o; õ is the last H of the WIDTH columns of `gates`."""
    own, own_gate, mask = rows_of_gates(count, H, WIDTH, BLOCK_ROWS, BLOCK_H)
    o = tl.sigmoid(load_float32(gates + own_gate, mask))
    tl.store(hidden + own, tanh(load_float32(cells + own, mask)) * o, mask=mask)


@triton.jit(do_not_specialize=["count"])
def output_gradient_kernel(
    grad: tl.tensor, cells: tl.tensor, gates: tl.tensor, grad_gates: tl.tensor, grad_cells: tl.tensor, count: tl.tensor,
    H: tl.constexpr, WIDTH: tl.constexpr, BLOCK_ROWS: tl.constexpr, BLOCK_H: tl.constexpr,
) -> None:  # fmt: skip
    """Fill δo = ∂h ⊙ tanh(c) ⊙ o(1 − o), in `grad_gates` where õ is in `gates`, and ∂c = ∂h ⊙ o ⊙ (1 − tanh²c)."""
    own, own_gate, mask = rows_of_gates(count, H, WIDTH, BLOCK_ROWS, BLOCK_H)
    o, tanh_c = tl.sigmoid(load_float32(gates + own_gate, mask)), tanh(load_float32(cells + own, mask))
    through = load_float32(grad + own, mask) * o
    tl.store(grad_gates + own_gate, through * tanh_c * (1.0 - o), mask=mask)
    tl.store(grad_cells + own, through * (1.0 - tanh_c * tanh_c), mask=mask)


@triton.jit
def rows_of_gates(
    count: tl.tensor, H: tl.constexpr, WIDTH: tl.constexpr, BLOCK_ROWS: tl.constexpr, BLOCK_H: tl.constexpr
) -> tuple[tl.tensor, tl.tensor, tl.tensor]:
    """Return a program's places in arrays […, H], in the last H of WIDTH columns, and which there are."""
    row = tl.program_id(0).to(tl.int64) * BLOCK_ROWS + tl.arange(0, BLOCK_ROWS)[:, None]
    column = tl.arange(0, BLOCK_H)[None, :]
    return row * H + column, row * WIDTH + WIDTH - H + column, (row < count) & (column < H)
