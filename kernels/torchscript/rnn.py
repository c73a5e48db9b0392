"""Elman's network, tanh or relu. Forward and backward loops, one operator.

h = tanh(W x + b + W_hh h′). As tanh(x) = 2 σ(2x) − 1 and a logistic is several times cheaper than a tanh on a CPU, the
2, `fold`, is multiplied into the weights of the forward pass, and the loop takes the logistic. Nothing but the states
is kept for the backward pass.

Legend: B batch, T time, I input, H hidden, V vocabulary, k steps of a chunk.
"""

from typing import Any

import torch
from torch import Tensor

from kernels import reference
from kernels.dtypes import accumulation_dtype, compute_dtype, lower
from kernels.lengths import last_rows, spread_last
from kernels.memory import workspace
from kernels.operator import recurrent_operator, register_backward
from kernels.torchscript.chunks import Projection, chunk_steps, chunks, collect_recurrent
from kernels.torchscript.script import add_product, loop


@loop
def forward_loop(
    sums: Tensor, h: Tensor, weight_t: Tensor, tanh: bool, ended: Tensor | None, hidden: Tensor, product: Tensor
) -> None:
    """Fill `hidden` [k, B, H] from h [B, H]; `sums` [k, B, H] is W x + b, and `product` [B, H] scratch.

    `ended` [k, B, 1] marks steps after a row's last valid one, whose states are set to zero: relu's could overflow.
    """
    minus_one = sums.new_full((), -1.0)
    for t in range(hidden.shape[0]):
        total = sums[t]
        add_product(total, h, weight_t, product)
        h = hidden[t]
        if tanh:
            torch.add(minus_one, total.sigmoid_(), alpha=2.0, out=h)
        else:
            h.copy_(total.relu_())
        if ended is not None:
            h.masked_fill_(ended[t], 0.0)


@loop
def backward_loop(
    grad_hidden: Tensor | None,
    hidden: Tensor,
    weight: Tensor,
    tanh: bool,
    rows: Tensor,
    rows_low: Tensor,
    grad_h: Tensor,
    grad_h_low: Tensor,
) -> None:
    """Fill `rows` [k, B, H], the gradient before each σ or relu; take `grad_h` [B, H] back to before the chunk.

    tanh: δ = ∂h ⊙ (1 − h²);  relu: δ = ∂h where h > 0;  ∂h′ = δ W_hh.
    For 16-bit weights `rows_low` and `grad_h_low` too are filled.
    """
    for t in range(hidden.shape[0] - 1, -1, -1):
        grad = rows[t]
        if grad_hidden is not None:
            grad_h.add_(grad_hidden[t])
        if tanh:
            torch.ops.aten.tanh_backward(grad_h, hidden[t].to(grad.dtype), grad_input=grad)
        else:
            torch.mul(grad_h, hidden[t] > 0, out=grad)
        if weight.dtype == grad.dtype:
            torch.mm(grad, weight, out=grad_h)
        else:
            torch.mm(rows_low[t].copy_(grad), weight, out=grad_h_low)
            grad_h.copy_(grad_h_low)


@recurrent_operator("peephole::rnn")
def rnn_operator(
    inputs: Tensor,
    embedding: Tensor | None,
    weight_ih: Tensor,
    weight_hh: Tensor,
    bias: Tensor | None,
    h_0: Tensor,
    lengths: Tensor | None,
    nonlinearity: str,
    keep: bool,
) -> tuple[Tensor, Tensor]:
    """Return all states [T, B, H] and the last valid one [B, H].

    The arguments are those of `kernels.reference.rnn`; `keep` makes no difference here. States after a row's last valid
    step have no meaning.
    """
    (T, B), H = inputs.shape[:2], weight_hh.shape[1]
    fold = 2.0 if nonlinearity == "tanh" else 1.0
    projection = Projection(inputs, embedding, weight_ih * fold, None if bias is None else bias * fold)
    weight_t = (weight_hh * fold).T.contiguous()
    hidden = workspace(h_0, T, B, H)
    sums = h_0.new_empty(chunk_steps(T, B), B, H, dtype=accumulation_dtype(h_0.dtype))
    ended = None if lengths is None else (torch.arange(T, device=lengths.device)[:, None] >= lengths)[..., None]
    product, h = torch.empty_like(h_0), h_0
    for t, end in chunks(T, B):
        projection.write(t, sums[: end - t])
        chunk_ended = None if ended is None else ended[t:end]
        forward_loop(sums[: end - t], h, weight_t, nonlinearity == "tanh", chunk_ended, hidden[t:end], product)
        h = hidden[end - 1]
    return hidden, last_rows(hidden, lengths)


@rnn_operator.register_fake
def _(*arguments: Any) -> tuple[Tensor, Tensor]:
    inputs, h_0 = arguments[0], arguments[5]
    return h_0.new_empty(inputs.shape[0], *h_0.shape), h_0.new_empty(h_0.shape)


def rnn_backward(
    grads: list[Tensor | None], results: list[Tensor], tensors: list[Any], nonlinearity: str, wanted: list[bool]
) -> list[Tensor | None]:
    """Return the gradients of `rnn_operator`'s tensors."""
    grad_hidden, grad_h_n = grads
    hidden, _ = results
    inputs, embedding, weight_ih, weight_hh, bias, h_0, lengths = tensors
    T, B, H = hidden.shape
    high = accumulation_dtype(h_0.dtype)
    projection = Projection(inputs, embedding, weight_ih, bias)
    projection.start_gradients(weight_ih, high, wanted[0])
    grad_weight_hh = torch.zeros_like(weight_hh, dtype=high)
    grad_h = torch.zeros_like(h_0, dtype=high)
    if lengths is not None:
        grad_hidden = spread_last(grad_hidden, grad_h_n, lengths, hidden)
    elif grad_h_n is not None:
        grad_h += grad_h_n
    rows = h_0.new_empty(chunk_steps(T, B), B, H, dtype=high)
    rows_low = rows if h_0.dtype == high else torch.empty_like(rows, dtype=h_0.dtype)
    grad_h_low = torch.empty_like(h_0)
    for t, end in reversed(chunks(T, B)):
        n = end - t
        chunk_grad = None if grad_hidden is None else grad_hidden[t:end]
        backward_loop(
            chunk_grad, hidden[t:end], weight_hh, nonlinearity == "tanh", rows[:n], rows_low[:n], grad_h, grad_h_low
        )
        projection.collect(t, rows[:n], rows_low[:n])
        collect_recurrent(grad_weight_hh, t, rows_low[:n], hidden, h_0)
    grad_inputs, grad_embedding, grad_weight_ih, grad_bias = projection.gradients()
    return [grad_inputs, grad_embedding, grad_weight_ih, grad_weight_hh, grad_bias, grad_h, None]


register_backward(rnn_operator, "peephole::rnn_backward", rnn_backward, reference.rnn)


def rnn(
    inputs: Tensor,
    embedding: Tensor | None,
    weight_ih: Tensor,
    weight_hh: Tensor,
    bias: Tensor | None,
    h_0: Tensor,
    lengths: Tensor | None,
    nonlinearity: str,
    keep: bool = True,
) -> tuple[Tensor, Tensor]:
    """Return all states [T, B, H] and the last valid one [B, H], as `kernels.reference.rnn` does."""
    low = compute_dtype(weight_hh)
    inputs, embedding, weight_ih, bias = lower(inputs, embedding, weight_ih, bias, low)
    return rnn_operator(inputs, embedding, weight_ih, weight_hh.to(low), bias, h_0.to(low), lengths, nonlinearity, keep)
