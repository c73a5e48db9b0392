"""Elman's network, tanh or relu: the kernels of its loops, and the operator around them.

h = tanh(W x + b + W_hh h′), or relu for tanh. Nothing but the states is kept for the backward pass. A row whose
sequence has ended keeps its state.

Legend: B batch, T time, I input, H hidden, V vocabulary.
"""

from typing import Any

import triton
import triton.language as tl
from torch import Tensor

from kernels import reference
from kernels.dtypes import accumulation_dtype, compute_dtype, lower
from kernels.operator import recurrent_operator, register_backward
from kernels.triton.bulk import input_gradients, last_gradient, project, recurrent_gradient, states_before
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


@recurrent_operator("peephole::triton_rnn")
def rnn_operator(
    inputs: Tensor,
    embedding: Tensor | None,
    weight_ih: Tensor,
    weight_hh: Tensor,
    bias: Tensor | None,
    h_0: Tensor,
    lengths: Tensor | None,
    word: str,
    flag: bool,
) -> tuple[Tensor, Tensor]:
    """Return all states [T, B, H] and the last one [B, H].

    The arguments are those of `kernels.reference.rnn`, `word` the nonlinearity; `flag` is not used.
    """
    hidden = h_0.new_empty(len(inputs), *h_0.shape)
    share, tokens = project(inputs, embedding, weight_ih, bias), None if embedding is None else inputs
    launch(
        forward_kernel, weight_hh, (share, tokens, h_0, lengths), (hidden,), first=h_0, TANH=word == "tanh"
    )  # fmt: skip
    return hidden, hidden[-1].clone()


@rnn_operator.register_fake
def _(*arguments: Any) -> tuple[Tensor, Tensor]:
    inputs, h_0 = arguments[0], arguments[5]
    return h_0.new_empty(inputs.shape[0], *h_0.shape), h_0.new_empty(h_0.shape)


def rnn_backward(
    grads: list[Tensor | None], results: list[Tensor], tensors: list[Any], word: str, wanted: list[bool]
) -> list[Tensor | None]:
    """Return the gradients of `rnn_operator`'s tensors."""
    grad_hidden, grad_h_n = grads
    hidden, _ = results
    inputs, embedding, weight_ih, weight_hh, _, h_0, lengths = tensors
    T, B, H = hidden.shape
    deltas = weight_hh.new_empty(T + 1, B, H)
    deltas[T] = 0
    grad_h = last_gradient(grad_h_n, h_0, accumulation_dtype(h_0.dtype))
    launch(
        backward_kernel, weight_hh, (lengths, hidden, grad_hidden), (deltas, grad_h), reverse=True,
        TANH=word == "tanh",
    )  # fmt: skip
    deltas = deltas[:T]
    grad_inputs, grad_embedding, grad_weight, grad_bias = input_gradients(
        deltas, inputs, embedding, weight_ih, wanted[0]
    )
    return [
        grad_inputs,
        grad_embedding,
        grad_weight,
        recurrent_gradient(deltas, states_before(hidden, h_0, deltas.dtype)),
        grad_bias,
        grad_h + deltas[0] @ weight_hh if wanted[5] else None,
        None,
    ]


register_backward(rnn_operator, "peephole::triton_rnn_backward", rnn_backward, reference.rnn)


def rnn(
    inputs: Tensor,
    embedding: Tensor | None,
    weight_ih: Tensor,
    weight_hh: Tensor,
    bias: Tensor | None,
    h_0: Tensor,
    lengths: Tensor | None,
    nonlinearity: str,
) -> tuple[Tensor, Tensor]:
    """Return all states [T, B, H] and the last valid one [B, H], as `kernels.reference.rnn` does."""
    low = compute_dtype(weight_hh)
    inputs, embedding, weight_ih, bias = lower(inputs, embedding, weight_ih, bias, low)
    return rnn_operator(inputs, embedding, weight_ih, weight_hh.to(low), bias, h_0.to(low), lengths, nonlinearity, True)
