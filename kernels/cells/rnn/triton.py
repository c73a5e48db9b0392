"""Elman's network, tanh or relu: the kernels of its loops, and the operator around them.

h = tanh(W x + b + W_hh h′), or relu for tanh. Nothing but the states is kept for the backward pass. A row whose
sequence has ended keeps its state.

Legend: B batch, T time, I input, H hidden, V vocabulary.
"""

from collections.abc import Mapping
from types import MappingProxyType

import triton
import triton.language as tl
from torch import Tensor

from kernels.cell import Results
from kernels.cells.rnn.reference import rnn_step
from kernels.dtypes import accumulation_dtype
from kernels.operator import Grads, Named
from kernels.triton.bulk import input_gradients, last_gradient, project, recurrent_gradient, states_before
from kernels.triton.cell import TritonCell
from kernels.triton.launch import RUN_TIME, launch
from kernels.triton.tiles import (
    arrive,
    before,
    factor,
    held_tiles,
    place,
    product,
    read,
    share_rows,
    tanh,
    wait,
    write_state,
)


@triton.jit(do_not_specialize=RUN_TIME)
def forward_kernel(
    weight: tl.tensor, told: tl.tensor, share: tl.tensor, tokens: tl.tensor, h_0: tl.tensor, lengths: tl.tensor,
    hidden: tl.tensor, counters: tl.tensor, B: tl.tensor, first_step: tl.tensor, end_step: tl.tensor,
    first_tile: tl.tensor, H: tl.constexpr, TANH: tl.constexpr, ROWS: tl.constexpr, UNITS: tl.constexpr,
    BLOCK: tl.constexpr, PIECES: tl.constexpr, SPLIT: tl.constexpr, PRECISION: tl.constexpr,
) -> None:  # fmt: skip
    """Fill `hidden` [T, B, H] in some steps, from the inputs' share [T, B, H], or [V, H] with tokens [T, B]."""
    PROGRAMS: tl.constexpr = (H + UNITS - 1) // UNITS
    counter, rows, first_unit, units = place(counters, first_tile, PROGRAMS, ROWS, UNITS)
    mask = (rows < B) & (units < H)
    own, slab = rows * H + units, B.to(tl.int64) * H
    low = weight.dtype.element_ty
    h = tl.load(before(h_0, hidden, first_step, slab) + own, mask=mask, other=0.0)
    if lengths is not None:
        length = tl.load(lengths + rows, mask=rows < B, other=0)
    if PIECES > 0:
        held = held_tiles(weight, first_unit, H, H, 1, 1, UNITS, BLOCK, PIECES, SPLIT, PRECISION)
    for t in range(first_step, end_step):
        x = read(share + share_rows(tokens, t, rows, B) * H + units, mask)
        wait(counter, t - first_step, PROGRAMS)
        h_before = told + t * slab if told is not None else before(h_0, hidden, t, slab)
        x += product(
            factor(h, low, PRECISION) if PROGRAMS == 1 else None, h_before, held if PIECES > 0 else None, weight,
            rows, first_unit, B, H, H, H, 1, 1, ROWS, UNITS, BLOCK, PIECES, SPLIT, PRECISION,
        )  # fmt: skip
        h_new = tanh(x).to(low) if TANH else tl.where(x < 0.0, 0.0, x).to(low)  # a NaN stays one
        h = tl.where(t < length, h_new, h) if lengths is not None else h_new
        write_state(h, hidden, told, t, slab, own, mask, low, PRECISION)
        arrive(counter, PROGRAMS)


@triton.jit(do_not_specialize=RUN_TIME)
def backward_kernel(
    weight: tl.tensor, lengths: tl.tensor, hidden: tl.tensor, grad_hidden: tl.tensor, deltas: tl.tensor,
    grad_h: tl.tensor, counters: tl.tensor, B: tl.tensor, first_step: tl.tensor, end_step: tl.tensor,
    first_tile: tl.tensor, H: tl.constexpr, TANH: tl.constexpr, ROWS: tl.constexpr, UNITS: tl.constexpr,
    BLOCK: tl.constexpr, PIECES: tl.constexpr, SPLIT: tl.constexpr, PRECISION: tl.constexpr,
) -> None:  # fmt: skip
    """Fill `deltas` [T + 1, B, H], the gradient before each tanh or relu; that of step T is zeros beforehand.

    tanh: δ = ∂h ⊙ (1 − h²);  relu: δ = ∂h where h > 0;  ∂h′ = δ W_hh.
    `weight` is W_hhᵀ. `grad_h` [B, H] holds ∂h, and is taken back to before the first step but for its δ W_hh.
    """
    PROGRAMS: tl.constexpr = (H + UNITS - 1) // UNITS
    counter, rows, first_unit, units = place(counters, first_tile, PROGRAMS, ROWS, UNITS)
    mask = (rows < B) & (units < H)
    own, slab = rows * H + units, B.to(tl.int64) * H
    low = deltas.dtype.element_ty
    dh = read(grad_h + own, mask)
    if lengths is not None:
        length = tl.load(lengths + rows, mask=rows < B, other=0)
    if PIECES > 0:
        held = held_tiles(weight, first_unit, H, H, 1, 1, UNITS, BLOCK, PIECES, SPLIT, PRECISION)
    for step in range(first_step, end_step):
        t = first_step + end_step - 1 - step
        h = read(hidden + t * slab + own, mask)
        if grad_hidden is not None:
            dh += read(grad_hidden + t * slab + own, mask)
        wait(counter, step - first_step, PROGRAMS)
        after = deltas + (t + 1) * slab
        dh += product(
            None, after, held if PIECES > 0 else None, weight, rows, first_unit, B, H, H, H, 1, 1, ROWS, UNITS,
            BLOCK, PIECES, SPLIT, PRECISION,
        )  # fmt: skip
        delta = dh * (1.0 - h * h) if TANH else tl.where(h <= 0.0, 0.0, dh)
        if lengths is not None:  # an ended row hands its gradient on
            running = t < length
            delta, dh = tl.where(running, delta, 0.0), tl.where(running, 0.0, dh)
        else:
            dh = tl.zeros([ROWS, UNITS], tl.float32)
        tl.store(deltas + t * slab + own, factor(delta, low, PRECISION), mask=mask)
        arrive(counter, PROGRAMS)
    tl.store(grad_h + own, dh, mask=mask)


class TritonRNN(TritonCell):
    """Elman's network."""

    name = "triton_rnn"
    options = MappingProxyType({"nonlinearity": "str"})
    low_states = (True,)
    step = staticmethod(rnn_step)

    def forward(self, tensors: Named, options: Named) -> Results:
        """Return all states [T, B, H] and the last one [B, H]."""
        h_0, (projected, tokens) = tensors["h_0"], project(tensors)
        hidden = h_0.new_empty(len(tensors["inputs"]), *h_0.shape)
        arguments = (projected, tokens, h_0, tensors["lengths"])
        launch(
            forward_kernel,
            tensors["weight_hh"],
            arguments,
            (hidden,),
            first=h_0,
            TANH=options["nonlinearity"] == "tanh",
        )
        return hidden, hidden[-1].clone()

    def backward(
        self, grads: Grads, results: list[Tensor], tensors: Named, options: Named, wanted: Mapping[str, bool]
    ) -> dict[str, Tensor | None]:
        """Return the gradients of the tensors by name."""
        (grad_hidden, grad_h_n), (hidden, _) = grads, results
        weight_hh, h_0 = tensors["weight_hh"], tensors["h_0"]
        T, B, H = hidden.shape
        deltas = weight_hh.new_empty(T + 1, B, H)
        deltas[T] = 0
        grad_h = last_gradient(grad_h_n, h_0, accumulation_dtype(h_0.dtype))
        launch(
            backward_kernel, weight_hh, (tensors["lengths"], hidden, grad_hidden), (deltas, grad_h), reverse=True,
            TANH=options["nonlinearity"] == "tanh",
        )  # fmt: skip
        deltas = deltas[:T]
        return {
            **input_gradients(deltas, tensors, wanted["inputs"]),
            "weight_hh": recurrent_gradient(deltas, states_before(hidden, h_0, deltas.dtype)),
            "h_0": grad_h + deltas[0] @ weight_hh if wanted["h_0"] else None,
        }


TRITON = TritonRNN()
