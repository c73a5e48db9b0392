"""The full-matrix peephole LSTM of the study on a GPU: the equations of a step, forward and backward.

The loops are in kernels/triton/loops.py. No gate sees h, and the output gate feeds nothing back. So the loops compute
only the cells, with the weights of i and f. The output gate and h follow in one kernel for all steps, or for the last
step if only that is wanted. Cells are float32. The backward pass computes the gates from them.

The tilde marks W x + b, for i and f with W_hc c′ added. ′ marks the previous step, ∂ the gradient of a value, δ the
gradient of a gate before its function. After a sequence has ended, the row's outputs h have no meaning.

Legend: B batch, T time, H hidden, V vocabulary.
"""

from collections.abc import Mapping
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.nn.functional import embedding as take_rows

from kernels.cells.peephole_lstm.reference import peephole_step
from kernels.layout import last_rows, rows_before_last, spread_last
from kernels.operator import Grads, Named, Results
from kernels.triton.bulk import (
    add_recurrent,
    first_product,
    input_gradients,
    last_gradient,
    project,
    project_all,
    recurrent_gradient,
    states_before,
)
from kernels.triton.cell import Equations, TritonCell
from kernels.triton.launch import current_device, readable, write_back
from kernels.triton.tiles import candidate, candidate_slope, load_float32, tanh

ELEMENTS = 1024  # of a program of the output gate, at least


@triton.jit
def peephole_forward(
    x: tl.tuple, recurrent: tl.tuple, state: tl.tuple, vectors: tl.tuple, TANH: tl.constexpr
) -> tl.tuple:  # fmt: skip
    """Return c.

    i = σ(ĩ),  f = σ(f̃),  g = σ(g̃) or tanh(g̃),  c = g ⊙ i + c′ ⊙ f.
    """
    i, f = recurrent[0] + x[0], recurrent[1] + x[1]
    return (candidate(x[2], TANH) * tl.sigmoid(i) + state[0] * tl.sigmoid(f),)


@triton.jit
def peephole_activate(
    x: tl.tuple, before: tl.tuple, after: tl.tuple, vectors: tl.tuple, TANH: tl.constexpr
) -> tl.tuple:
    """Return i, f, g and c′."""
    return tl.sigmoid(x[0]), tl.sigmoid(x[1]), candidate(x[2], TANH), before[0]


@triton.jit
def peephole_differentiate(values: tl.tuple, grads: tl.tuple, vectors: tl.tuple, TANH: tl.constexpr) -> tl.tuple:
    """Return δi, δf and δg, and the part of ∂c′ that is not in [δi, δf] W_fi.

    δi = ∂c ⊙ g ⊙ i(1 − i),  δf = ∂c ⊙ c′ ⊙ f(1 − f),  δg = ∂c ⊙ i ⊙ g(1 − g), or 1 − g² for tanh,  ∂c′ = ∂c ⊙ f.
    """
    i, f, g, c_before = values
    grad_c = grads[0]
    grad_i = grad_c * g * i * (1.0 - i)
    grad_f = grad_c * c_before * f * (1.0 - f)
    return (grad_i, grad_f, grad_c * i * candidate_slope(g, TANH)), (grad_c * f,)


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


class TritonPeephole(TritonCell):
    """The full peephole; with `last_only` its first result is empty."""

    name = "triton_peephole_lstm"
    options = ("str candidate",)
    flags = ("last_only",)
    states = ("c_0",)
    step = staticmethod(peephole_step)
    equations = Equations(
        peephole_forward, peephole_activate, peephole_differentiate, gates=4, recurrent=(2,), grad_gates=4
    )

    def count_results(self) -> int:
        """Count the outputs, the last state and cell, and all cells."""
        return 4

    def fake(self, tensors: Named, options: Named) -> Results:
        """Return empty tensors like the results."""
        low, c_0, T = tensors["weight_hh"], tensors["c_0"], len(tensors["inputs"])
        B, H = c_0.shape
        hidden = low.new_empty(0 if options["last_only"] else T, B, H)
        return hidden, low.new_empty(B, H), c_0.new_empty(B, H), c_0.new_empty(T, B, H)

    def reference(self, tensors: Named, options: Named) -> Results:
        """Return all states, the last state and the last cell in differentiable operations."""
        return self.run_reference(tensors, options, (torch.zeros_like(tensors["c_0"]), tensors["c_0"]))

    def gates(self, tensors: Named, hidden: Tensor, h_before: Tensor) -> tuple[Tensor, None]:
        """Return ĩ, f̃ and g̃, and the input projection of the output gate."""
        weight_ch, H = tensors["weight_hh"], h_before.shape[2]
        gates = project_all(tensors, weight_ch.dtype)
        add_recurrent(gates[..., : 2 * H], h_before, weight_ch[: 2 * H])
        return gates, None

    def forward(self, tensors: Named, options: Named) -> Results:
        """Return all states [T, B, H], the last state and cell [B, H], and for the backward pass all cells."""
        weight_ch, c_0, lengths, resets = (tensors[name] for name in ("weight_hh", "c_0", "lengths", "resets"))
        H, (projected, tokens) = c_0.shape[1], project(tensors)
        weight_fi, weight_o = weight_ch[: 2 * H], weight_ch[2 * H :]
        [cells] = self.run_forward(tensors, options, weight_fi, (projected, tokens))
        if options["last_only"]:
            own = _output_gate(projected)
            own = last_rows(own, lengths) if tokens is None else own[last_rows(tokens, lengths)]
            h_n = output_state(cells[-1], _last_gate(own, cells, tensors), weight_ch.dtype)
            return weight_ch.new_empty(0, *c_0.shape), h_n, cells[-1].clone(), cells
        gates = projected if tokens is None else take_rows(tokens, _output_gate(projected).to(weight_o.dtype))
        add_recurrent(gates[..., -H:], states_before(cells, c_0, weight_o.dtype, resets), weight_o)
        hidden = output_state(cells, gates, weight_ch.dtype)
        return hidden, last_rows(hidden, lengths), cells[-1].clone(), cells

    def backward(
        self, grads: Grads, results: list[Tensor], tensors: Named, options: Named, wanted: Mapping[str, bool]
    ) -> dict[str, Tensor | None]:
        """Return the gradients of the tensors by name.

        The output gate comes first: δo, its part of ∂c, and δo W_oc, its part of ∂c′.
        """
        (grad_hidden, grad_h_n, grad_c_n, _), (hidden, _, _, cells) = grads, results
        weight_ch, c_0, lengths, resets = (tensors[name] for name in ("weight_hh", "c_0", "lengths", "resets"))
        T, B, H = cells.shape
        weight_fi, weight_o = weight_ch[: 2 * H], weight_ch[2 * H :]
        c_before = states_before(cells, c_0, weight_ch.dtype, resets)
        gates, _ = self.gates(tensors, cells, c_before)
        grad_gates = weight_ch.new_empty(T + 1, B, 4 * H)
        grad_o = grad_gates[:T, :, 3 * H :]
        grad_c, grad_cells, grad_before = last_gradient(grad_c_n, cells), None, None
        ends = torch.full((B,), T, device=c_0.device) if lengths is None else lengths
        if len(hidden) == 0:  # the output gate of one step
            grad_o.zero_()
            if grad_h_n is not None:
                gate_o = _last_gate(last_rows(_output_gate(gates), lengths), cells, tensors)
                grad, grad_before = weight_ch.new_empty(B, H), weight_ch.new_zeros(T + 1, B, H)
                grad_c += output_gradient(grad_h_n, cells[-1], gate_o, grad)
                step = ends - 1, torch.arange(B, device=c_0.device)
                grad_o[step], grad_before[step] = grad, grad @ weight_o
        elif grad_hidden is not None or grad_h_n is not None:
            grad_last = weight_ch.new_zeros(B, H) if grad_h_n is None else grad_h_n
            grad_all = spread_last(grad_hidden, grad_last, ends, T, c_0.dtype)
            add_recurrent(_output_gate(gates), c_before, weight_o)
            grad_cells = output_gradient(grad_all, cells, gates, grad_gates)
            grad_before = weight_ch.new_empty(T + 1, B, H)
            torch.mm(grad_o.flatten(0, 1), weight_o, out=grad_before[:T].view(-1, H))
            grad_before[T] = 0
        else:
            grad_o.zero_()
        if grad_before is not None and resets is not None:
            grad_before[:T].masked_fill_(resets[..., None], 0)
        added = (grad_cells, None if grad_before is None else grad_before[1:])
        self.run_backward(tensors, options, weight_fi, (gates, None), (cells,), added, grad_gates, (grad_c,))
        grad_gates = grad_gates[:T]
        serial, grad_c_0 = grad_gates[..., : 2 * H], None
        if wanted["c_0"]:
            grad_c_0 = grad_c + first_product(serial[0] @ weight_fi, resets)
            grad_c_0 = grad_c_0 if grad_before is None else grad_c_0 + grad_before[0]
        return {
            **input_gradients(grad_gates, tensors, wanted["inputs"]),
            "weight_hh": torch.cat([recurrent_gradient(serial, c_before), recurrent_gradient(grad_o, c_before)]),
            "c_0": grad_c_0,
        }


TRITON = TritonPeephole()


def output_state(cells: Tensor, gates: Tensor, dtype: torch.dtype) -> Tensor:
    """Return h […, H] in a dtype, from c […, H] and contiguous gates whose last H columns are õ."""
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


def _output_gate(gates: Tensor) -> Tensor:
    """Return the output gate's part […, H] of all four gates […, 4H]."""
    return gates[..., -(gates.shape[-1] // 4) :]


def _last_gate(projected: Tensor, cells: Tensor, tensors: Named) -> Tensor:
    """Return õ + W_oc c′ of each row's last valid step [B, H]; `projected` is its õ."""
    lengths, resets, weight_o = tensors["lengths"], tensors["resets"], tensors["weight_hh"][2 * cells.shape[2] :]
    c_before = rows_before_last(cells, tensors["c_0"], lengths)
    if resets is not None:
        c_before = c_before.masked_fill(last_rows(resets, lengths)[:, None], 0)
    return projected.to(cells.dtype) + c_before.to(weight_o.dtype) @ weight_o.T
