"""The LSTM, plain or with diagonal peepholes. Forward and backward loops, one operator.

i = σ(ĩ + p_i ⊙ c′), f = σ(f̃ + p_f ⊙ c′), c = g ⊙ i + c′ ⊙ f, o = σ(õ + p_o ⊙ c), h = tanh(c) ⊙ o, where the tilde marks
W x + b + W_hh h′ and p = 0 without peepholes.

A logistic is several times cheaper than a tanh on a CPU, and tanh(x) = 2 σ(2x) − 1. So every gate, the candidate
included, is one σ over [B, 4H]: the candidate is g = scale · s + 1 − scale with s = σ(scale · g̃), where `scale` is 2
for tanh and 1 for σ and has been multiplied into the weights. `gates` holds i, f, s, o.

Legend: B batch, T time, H hidden, V vocabulary.
"""

from typing import Any

import torch
from torch import Tensor

from kernels.dtypes import accumulation_dtype, compute_dtype
from kernels.torchscript.script import (
    add_product,
    grad_projected,
    grad_weight,
    last_rows,
    loop,
    place,
    project,
    refuse_second_derivative,
    spread_last,
    without_autocast,
)


@loop
def forward_loop(
    projected: Tensor,
    ids: Tensor | None,
    h_0: Tensor,
    c_0: Tensor,
    weight_t: Tensor,
    peephole: Tensor | None,
    scale: float,
    hidden: Tensor,
    cells: Tensor,
    gates: Tensor,
    product: Tensor,
    tanh_c: Tensor,
) -> None:
    """Fill `hidden` and `cells` [T, B, H] and `gates` [T, B, 4H]; `product` [B, 4H] and `tanh_c` [B, H] are scratch."""
    T, H = hidden.shape[0], hidden.shape[2]
    h, c = h_0, c_0
    for t in range(T):
        gate = gates[t]
        place(gate, projected, ids, t)
        add_product(gate, h, weight_t, product)
        i, f, s, o = gate[:, :H], gate[:, H : 2 * H], gate[:, 2 * H : 3 * H], gate[:, 3 * H :]
        if peephole is not None:
            i.addcmul_(c, peephole[0])
            f.addcmul_(c, peephole[1])
            gate[:, : 3 * H].sigmoid_()
        else:
            gate.sigmoid_()
        c_new = cells[t]
        torch.mul(f, c, out=c_new)
        c_new.addcmul_(i, s, value=scale)
        if scale == 2.0:
            c_new.sub_(i)
        if peephole is not None:
            o.addcmul_(c_new, peephole[2]).sigmoid_()
        torch.tanh(c_new, out=tanh_c)
        h, c = hidden[t], c_new
        if h.dtype == o.dtype:
            torch.mul(tanh_c, o, out=h)
        else:
            h.copy_(tanh_c.mul_(o))


@loop
def backward_loop(
    grad_hidden: Tensor | None,
    grad_cells: Tensor | None,
    c_0: Tensor,
    weight: Tensor,
    peephole: Tensor | None,
    scale: float,
    cells: Tensor,
    gates: Tensor,
    grad_gates: Tensor,
    grad_h: Tensor,
    grad_c: Tensor,
    tanh_c: Tensor,
    scratch: Tensor,
) -> None:
    """Fill `grad_gates` [T, B, 4H], the gradient before each σ; leave those of h_0 and c_0 in `grad_h` and `grad_c`.

    With δ the gradient before a σ and ∂ that of a value:
    δo = ∂h ⊙ tanh(c) ⊙ o(1 − o),  ∂c += ∂h ⊙ o ⊙ (1 − tanh²(c)) + δo ⊙ p_o,
    δi = ∂c ⊙ g ⊙ i(1 − i),  δf = ∂c ⊙ c′ ⊙ f(1 − f),  δs = scale · ∂c ⊙ i ⊙ s(1 − s),
    ∂c′ = ∂c ⊙ f + δi ⊙ p_i + δf ⊙ p_f,  ∂h′ = δ W_hh.
    `tanh_c` and `scratch` [B, H] are scratch.
    """
    T, H = cells.shape[0], cells.shape[2]
    for t in range(T - 1, -1, -1):
        gate, grad, c = gates[t], grad_gates[t], cells[t]
        c_before = cells[t - 1] if t > 0 else c_0
        i, f, s, o = gate[:, :H], gate[:, H : 2 * H], gate[:, 2 * H : 3 * H], gate[:, 3 * H :]
        grad_i, grad_f = grad[:, :H], grad[:, H : 2 * H]
        grad_s, grad_o = grad[:, 2 * H : 3 * H], grad[:, 3 * H :]
        if grad_hidden is not None:
            grad_h.add_(grad_hidden[t])
        if grad_cells is not None:
            grad_c.add_(grad_cells[t])
        torch.tanh(c, out=tanh_c)
        torch.mul(grad_h, tanh_c, out=grad_o)
        torch.mul(grad_h, o, out=scratch)
        torch.ops.aten.tanh_backward(scratch, tanh_c, grad_input=scratch)
        grad_c.add_(scratch)
        if peephole is not None:
            torch.ops.aten.sigmoid_backward(grad_o, o, grad_input=grad_o)
            grad_c.addcmul_(grad_o, peephole[2])
        torch.mul(grad_c, s, out=grad_i).mul_(scale)
        if scale == 2.0:
            grad_i.sub_(grad_c)
        torch.mul(grad_c, c_before, out=grad_f)
        torch.mul(grad_c, i, out=grad_s).mul_(scale)
        grad_c.mul_(f)
        if peephole is not None:
            first = grad[:, : 3 * H]
            torch.ops.aten.sigmoid_backward(first, gate[:, : 3 * H], grad_input=first)
            grad_c.addcmul_(grad_i, peephole[0]).addcmul_(grad_f, peephole[1])
        else:
            torch.ops.aten.sigmoid_backward(grad, gate, grad_input=grad)
        torch.mm(grad, weight, out=grad_h)


@torch.library.custom_op("peephole::lstm", mutates_args=())
@without_autocast
def lstm_operator(
    projected: Tensor,
    ids: Tensor | None,
    h_0: Tensor,
    c_0: Tensor,
    weight_hh: Tensor,
    peephole: Tensor | None,
    last: Tensor | None,
    scale: float,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Return all states [T, B, H], the last valid state and cell [B, H], and for the backward pass cells and gates.

    Args:
        projected: W x + b, [T, B, 4H], or for tokens a table [V, 4H].
        ids: tokens [T, B] or None.
        h_0: [B, H], of the weight's dtype.
        c_0: [B, H], of the accumulation dtype.
        weight_hh: [4H, H].
        peephole: p [3, H] of the accumulation dtype, gates i, f, o, or None.
        last: index of each row's last valid step [B], None for T − 1.
        scale: 2 if the candidate is a tanh, 1 if it is a logistic.
    """
    T, B = projected.shape[:2] if ids is None else ids.shape
    H = weight_hh.shape[1]
    dtype = accumulation_dtype(weight_hh.dtype)
    hidden = weight_hh.new_empty(T, B, H)
    cells = weight_hh.new_empty(T, B, H, dtype=dtype)
    gates = weight_hh.new_empty(T, B, 4 * H, dtype=dtype)
    product, tanh_c = weight_hh.new_empty(B, 4 * H), torch.empty_like(c_0)
    forward_loop(
        projected, ids, h_0, c_0, weight_hh.T.contiguous(), peephole, scale, hidden, cells, gates, product, tanh_c
    )
    return hidden, last_rows(hidden, last), last_rows(cells, last), cells, gates


@lstm_operator.register_fake
def _(projected: Tensor, ids: Tensor | None, h_0: Tensor, c_0: Tensor, *_: Any) -> tuple[Tensor, ...]:
    T = projected.shape[0] if ids is None else ids.shape[0]
    B, H = h_0.shape
    cells, gates = c_0.new_empty(T, B, H), c_0.new_empty(T, B, 4 * H)
    return h_0.new_empty(T, B, H), torch.empty_like(h_0), torch.empty_like(c_0), cells, gates


@torch.library.custom_op("peephole::lstm_backward", mutates_args=())
@without_autocast
def lstm_backward_operator(
    grad_hidden: Tensor | None,
    grad_h_last: Tensor | None,
    grad_c_last: Tensor | None,
    hidden: Tensor,
    cells: Tensor,
    gates: Tensor,
    ids: Tensor | None,
    h_0: Tensor,
    c_0: Tensor,
    weight_hh: Tensor,
    peephole: Tensor | None,
    last: Tensor | None,
    scale: float,
    rows: int,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Return the gradients of projected, h_0, c_0, weight_hh and the peepholes (zeros without them).

    Args:
        grad_hidden: gradient of all states [T, B, H], None for zeros, like the next two.
        grad_h_last: gradient of the last valid states [B, H].
        grad_c_last: gradient of the last valid cells [B, H].
        hidden: all states.
        cells: all cells.
        gates: all gates.
        ids: as in the forward operator, like the rest.
        h_0: initial states.
        c_0: initial cells.
        weight_hh: recurrent weight.
        peephole: peephole weights.
        last: index of each row's last valid step.
        scale: 2 for tanh, 1 for the logistic.
        rows: number of rows of the table that `projected` is, where there are ids.
    """
    grad_h, grad_c = torch.zeros_like(c_0), torch.zeros_like(c_0)
    if last is None:
        grad_h = grad_h if grad_h_last is None else grad_h.add_(grad_h_last)
        grad_c = grad_c if grad_c_last is None else grad_c.add_(grad_c_last)
        grad_cells = None
    else:
        grad_hidden = spread_last(grad_hidden, grad_h_last, last, cells)
        grad_cells = spread_last(None, grad_c_last, last, cells)
    weight, grad_gates = weight_hh.to(cells.dtype), torch.empty_like(gates)
    tanh_c, scratch = torch.empty_like(c_0), torch.empty_like(c_0)
    backward_loop(
        grad_hidden, grad_cells, c_0, weight, peephole, scale, cells, gates, grad_gates, grad_h, grad_c, tanh_c, scratch
    )
    if peephole is None:
        grad_peephole = c_0.new_zeros(3, c_0.shape[1])
    else:
        H = c_0.shape[1]
        before = torch.cat([c_0[None], cells[:-1]])  # [T, B, H]
        sums = [
            (grad_gates[..., :H] * before),
            (grad_gates[..., H : 2 * H] * before),
            (grad_gates[..., 3 * H :] * cells),
        ]
        grad_peephole = torch.stack([product.sum((0, 1)) for product in sums])
    return (
        grad_projected(grad_gates, ids, rows),
        grad_h.to(h_0.dtype),
        grad_c,
        grad_weight(grad_gates, hidden, h_0).to(weight_hh.dtype),
        grad_peephole,
    )


@lstm_backward_operator.register_fake
def _(*arguments: Any) -> tuple[Tensor, ...]:
    *_, gates, ids, h_0, c_0, weight_hh, _, _, _, rows = arguments
    grad_inputs = torch.empty_like(gates) if ids is None else gates.new_empty(rows, gates.shape[2])
    grad_peephole = c_0.new_empty(3, c_0.shape[1])
    return grad_inputs, torch.empty_like(h_0), torch.empty_like(c_0), torch.empty_like(weight_hh), grad_peephole


def _save(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    projected, ids, h_0, c_0, weight_hh, peephole, last, scale = inputs
    hidden, _, _, cells, gates = output
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(hidden, cells, gates, ids, h_0, c_0, weight_hh, peephole, last)
    ctx.scale, ctx.rows = scale, projected.shape[0]


def _backward(
    ctx: Any, grad_hidden: Tensor | None, grad_h_last: Tensor | None, grad_c_last: Tensor | None, *_: None
) -> tuple[Tensor | None, ...]:
    grads = lstm_backward_operator(grad_hidden, grad_h_last, grad_c_last, *ctx.saved_tensors, ctx.scale, ctx.rows)
    grad_inputs, grad_h_0, grad_c_0, grad_weight_hh, grad_peephole = grads
    has_peephole = ctx.saved_tensors[7] is not None
    return grad_inputs, None, grad_h_0, grad_c_0, grad_weight_hh, grad_peephole if has_peephole else None, None, None


lstm_operator.register_autograd(_backward, setup_context=_save)
refuse_second_derivative(lstm_backward_operator)


def lstm(
    inputs: Tensor,
    embedding: Tensor | None,
    weight_ih: Tensor,
    weight_hh: Tensor,
    bias: Tensor | None,
    weight_peephole: Tensor | None,
    h_0: Tensor,
    c_0: Tensor,
    candidate: str,
    lengths: Tensor | None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Return all states [T, B, H], the last valid state and cell [B, H], as `kernels.reference.lstm` does."""
    scale = 2.0 if candidate == "tanh" else 1.0
    H = weight_hh.shape[1]
    factors = weight_hh.new_ones(4 * H, 1)
    factors[2 * H : 3 * H] = scale
    projected, ids = project(inputs, embedding, weight_ih * factors, None if bias is None else bias * factors[:, 0])
    weight_hh = (weight_hh * factors).to(compute_dtype(weight_hh))
    dtype = accumulation_dtype(weight_hh.dtype)
    peephole = None if weight_peephole is None else weight_peephole.to(dtype)
    last = None if lengths is None else lengths - 1
    h_0, c_0 = h_0.to(weight_hh.dtype), c_0.to(dtype)
    hidden, h_n, c_n, _, _ = lstm_operator(projected, ids, h_0, c_0, weight_hh, peephole, last, scale)
    return hidden, h_n, c_n.to(hidden.dtype)
