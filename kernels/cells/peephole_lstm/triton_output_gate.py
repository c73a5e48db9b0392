"""The output gate of the full-matrix peephole LSTM on a GPU: h = tanh(c) ⊙ o with o = σ(õ), and its gradient.

It is not part of the time loops: one kernel computes it for all steps, or for one. The gate is the last H columns of an
array with H columns, or with 4H if the gates of the loops are there too.
"""

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from kernels.triton.launch import current_device, readable, write_back
from kernels.triton.tiles import load_float32, tanh

ELEMENTS = 1024  # of a program, at least


def output_state(cells: Tensor, gates: Tensor, dtype: torch.dtype) -> Tensor:
    """Return h […, H] in a dtype, from c […, H] and contiguous gates with õ."""
    hidden = torch.empty_like(cells, dtype=dtype)
    _launch(output_kernel, (cells, gates), (hidden,), gates.shape[-1])
    return hidden


def output_gradient(grad: Tensor, cells: Tensor, gates: Tensor, grad_gates: Tensor) -> Tensor:
    """Return ∂c […, H], the gradient through h alone, and write δo to `grad_gates`, which may have more rows.

    `grad` is ∂h […, H]; `cells` and `gates` are as in `output_state`.
    """
    grad_cells = torch.empty_like(cells)
    _launch(output_gradient_kernel, (grad, cells, gates), (grad_gates, grad_cells), gates.shape[-1])
    return grad_cells


def _launch(kernel: Any, arguments: tuple[Tensor, ...], results: tuple[Tensor, ...], WIDTH: int) -> None:
    """Run a kernel over the rows of […, H]; the last result has this shape."""
    H = results[-1].shape[-1]
    count, BLOCK_H = results[-1].numel() // H, 1 << (H - 1).bit_length()
    if count == 0:
        return
    ROWS = max(1, ELEMENTS // BLOCK_H)
    given, taken = readable(arguments), readable(results)
    with current_device(results[-1].device):
        kernel[(-(-count // ROWS),)](*given, *taken, count, H=H, WIDTH=WIDTH, ROWS=ROWS, BLOCK_H=BLOCK_H)
    write_back(results, taken)


@triton.jit(do_not_specialize=["count"])
def output_kernel(
    cells: tl.tensor, gates: tl.tensor, hidden: tl.tensor, count: tl.tensor, H: tl.constexpr, WIDTH: tl.constexpr,
    ROWS: tl.constexpr, BLOCK_H: tl.constexpr,
) -> None:  # fmt: skip
    """Fill `hidden` […, H] with h = tanh(c) ⊙ o; õ is the last H of the WIDTH columns of `gates`."""
    own, own_gate, mask = rows_of_gates(count, H, WIDTH, ROWS, BLOCK_H)
    o = tl.sigmoid(load_float32(gates + own_gate, mask))
    tl.store(hidden + own, tanh(load_float32(cells + own, mask)) * o, mask=mask)


@triton.jit(do_not_specialize=["count"])
def output_gradient_kernel(
    grad: tl.tensor, cells: tl.tensor, gates: tl.tensor, grad_gates: tl.tensor, grad_cells: tl.tensor, count: tl.tensor,
    H: tl.constexpr, WIDTH: tl.constexpr, ROWS: tl.constexpr, BLOCK_H: tl.constexpr,
) -> None:  # fmt: skip
    """Fill δo = ∂h ⊙ tanh(c) ⊙ o(1 − o), in `grad_gates` where õ is in `gates`, and ∂c = ∂h ⊙ o ⊙ (1 − tanh²c)."""
    own, own_gate, mask = rows_of_gates(count, H, WIDTH, ROWS, BLOCK_H)
    o, tanh_c = tl.sigmoid(load_float32(gates + own_gate, mask)), tanh(load_float32(cells + own, mask))
    through = load_float32(grad + own, mask) * o
    tl.store(grad_gates + own_gate, through * tanh_c * (1.0 - o), mask=mask)
    tl.store(grad_cells + own, through * (1.0 - tanh_c * tanh_c), mask=mask)


@triton.jit
def rows_of_gates(
    count: tl.tensor, H: tl.constexpr, WIDTH: tl.constexpr, ROWS: tl.constexpr, BLOCK_H: tl.constexpr
) -> tuple[tl.tensor, tl.tensor, tl.tensor]:
    """Return a program's places in arrays […, H], in the last H of WIDTH columns, and which there are."""
    row = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)[:, None]
    column = tl.arange(0, BLOCK_H)[None, :]
    return row * H + column, row * WIDTH + WIDTH - H + column, (row < count) & (column < H)
