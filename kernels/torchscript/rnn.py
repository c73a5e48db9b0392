"""Elman's network: h = tanh(W_hx x + b + W_hh h′), or relu. Forward and backward loops, one operator.

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
    weight_t: Tensor,
    relu: bool,
    hidden: Tensor,
    gate: Tensor,
    product: Tensor,
) -> None:
    """Fill `hidden` [T, B, H]; `gate` and `product` [B, H] are scratch."""
    h = h_0
    for t in range(hidden.shape[0]):
        place(gate, projected, ids, t)
        add_product(gate, h, weight_t, product)
        if relu:
            gate.relu_()
        else:
            gate.tanh_()
        h = hidden[t]
        h.copy_(gate)


@loop
def backward_loop(
    grad_hidden: Tensor | None, hidden: Tensor, weight: Tensor, relu: bool, grad_gates: Tensor, grad_h: Tensor
) -> None:
    """Fill `grad_gates` [T, B, H], the gradient before the nonlinearity, and leave that of h_0 in `grad_h` [B, H].

    δ(t) = ∂L/∂h(t) ⊙ (1 − h(t)²) for tanh, ⊙ [h(t) > 0] for relu; ∂L/∂h(t − 1) gains δ(t) W_hh.
    """
    for t in range(hidden.shape[0] - 1, -1, -1):
        if grad_hidden is not None:
            grad_h.add_(grad_hidden[t])
        if relu:
            torch.mul(grad_h, hidden[t] > 0, out=grad_gates[t])
        else:
            torch.ops.aten.tanh_backward(grad_h, hidden[t], grad_input=grad_gates[t])
        torch.mm(grad_gates[t], weight, out=grad_h)


@torch.library.custom_op("peephole::rnn", mutates_args=())
@without_autocast
def rnn_operator(
    projected: Tensor, ids: Tensor | None, h_0: Tensor, weight_hh: Tensor, last: Tensor | None, relu: bool
) -> tuple[Tensor, Tensor]:
    """Return all states [T, B, H] and the last valid ones [B, H].

    Args:
        projected: W x + b, [T, B, H], or for tokens a table [V, H].
        ids: tokens [T, B] or None.
        h_0: [B, H], of the weight's dtype.
        weight_hh: [H, H].
        last: index of each row's last valid step [B], None for T − 1.
        relu: relu for tanh.
    """
    T, B = projected.shape[:2] if ids is None else ids.shape
    H = weight_hh.shape[1]
    hidden = weight_hh.new_empty(T, B, H)
    gate = projected.new_empty(B, H, dtype=accumulation_dtype(weight_hh.dtype))
    forward_loop(projected, ids, h_0, weight_hh.T.contiguous(), relu, hidden, gate, weight_hh.new_empty(B, H))
    return hidden, last_rows(hidden, last)


@rnn_operator.register_fake
def _(projected: Tensor, ids: Tensor | None, h_0: Tensor, weight_hh: Tensor, *_: Any) -> tuple[Tensor, ...]:
    T = projected.shape[0] if ids is None else ids.shape[0]
    return weight_hh.new_empty(T, *h_0.shape), torch.empty_like(h_0)


@torch.library.custom_op("peephole::rnn_backward", mutates_args=())
@without_autocast
def rnn_backward_operator(
    grad_hidden: Tensor | None,
    grad_last: Tensor | None,
    hidden: Tensor,
    ids: Tensor | None,
    h_0: Tensor,
    weight_hh: Tensor,
    last: Tensor | None,
    relu: bool,
    rows: int,
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the gradients of projected, h_0 and weight_hh, all sums in the accumulation dtype.

    Args:
        grad_hidden: gradient of all states [T, B, H], None for zeros.
        grad_last: gradient of the last valid states [B, H], None for zeros.
        hidden: all states.
        ids: as in the forward operator, like the rest.
        h_0: initial states.
        weight_hh: recurrent weight.
        last: index of each row's last valid step.
        relu: relu for tanh.
        rows: number of rows of the table that `projected` is, where there are ids.
    """
    dtype = accumulation_dtype(weight_hh.dtype)
    grad_gates = torch.empty_like(hidden, dtype=dtype)
    grad_h = torch.zeros_like(h_0, dtype=dtype)
    grad_hidden = spread_last(grad_hidden, grad_last, last, hidden)
    backward_loop(grad_hidden, hidden.to(dtype), weight_hh.to(dtype), relu, grad_gates, grad_h)
    return (
        grad_projected(grad_gates, ids, rows),
        grad_h.to(h_0.dtype),
        grad_weight(grad_gates, hidden, h_0).to(weight_hh.dtype),
    )


@rnn_backward_operator.register_fake
def _(*arguments: Any) -> tuple[Tensor, ...]:
    _, _, hidden, ids, h_0, weight_hh, _, _, rows = arguments
    shape = hidden.shape if ids is None else (rows, hidden.shape[2])
    grad_inputs = hidden.new_empty(shape, dtype=accumulation_dtype(weight_hh.dtype))
    return grad_inputs, torch.empty_like(h_0), torch.empty_like(weight_hh)


def _save(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    projected, ids, h_0, weight_hh, last, relu = inputs
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(output[0], ids, h_0, weight_hh, last)
    ctx.relu, ctx.rows = relu, projected.shape[0]


def _backward(ctx: Any, grad_hidden: Tensor | None, grad_last: Tensor | None) -> tuple[Tensor | None, ...]:
    grads = rnn_backward_operator(grad_hidden, grad_last, *ctx.saved_tensors, ctx.relu, ctx.rows)
    grad_inputs, grad_h_0, grad_weight_hh = grads
    return grad_inputs, None, grad_h_0, grad_weight_hh, None, None


rnn_operator.register_autograd(_backward, setup_context=_save)
refuse_second_derivative(rnn_backward_operator)


def rnn(
    inputs: Tensor,
    embedding: Tensor | None,
    weight_ih: Tensor,
    weight_hh: Tensor,
    bias: Tensor | None,
    h_0: Tensor,
    nonlinearity: str,
    lengths: Tensor | None,
) -> tuple[Tensor, Tensor]:
    """Return all states [T, B, H] and the last valid ones [B, H], as `kernels.reference.rnn` does."""
    projected, ids = project(inputs, embedding, weight_ih, bias)
    weight_hh = weight_hh.to(compute_dtype(weight_hh))
    last = None if lengths is None else lengths - 1
    return rnn_operator(projected, ids, h_0.to(weight_hh.dtype), weight_hh, last, nonlinearity == "relu")
