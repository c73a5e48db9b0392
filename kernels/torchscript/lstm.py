"""The LSTM, plain or with diagonal peepholes. Forward and backward loops, one operator.

i = σ(ĩ + p_i ⊙ c′), f = σ(f̃ + p_f ⊙ c′), c = g ⊙ i + c′ ⊙ f, o = σ(õ + p_o ⊙ c), h = tanh(c) ⊙ o, where the tilde marks
W x + b + W_hh h′ and p = 0 without peepholes.

A logistic is several times cheaper than a tanh on a CPU, and tanh(x) = 1 − 2 σ(−2x). So every gate, the candidate
included, is one σ over [B, 4H]: s = σ(fold · g̃), where `fold` has been multiplied into the candidate's weights; for a
tanh it is −2 and g = 1 − 2s, for a logistic 1 and g = s. `gates` holds i, f, s, o. Likewise h = o − 2 o ⊙ v with
v = σ(−2c).

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
from kernels.torchscript.chunks import (
    Projection,
    add_recurrent,
    chunk_steps,
    chunks,
    collect_recurrent,
    keep_gates,
    kept_gates,
    scale_rows,
)
from kernels.torchscript.script import add_product, loop


@loop
def forward_loop(
    gates: Tensor,
    h: Tensor,
    c: Tensor,
    weight_t: Tensor,
    peephole: Tensor | None,
    fold: float,
    hidden: Tensor,
    cells: Tensor,
    product: Tensor,
    v: Tensor,
) -> None:
    """Fill `hidden` and `cells` [k, B, H] from h and c [B, H]; turn `gates` [k, B, 4H] from W x + b into i, f, s, o.

    `product` [B, 4H] and `v` [B, H] are scratch.
    """
    H = hidden.shape[2]
    for t in range(hidden.shape[0]):
        gate = gates[t]
        add_product(gate, h, weight_t, product)
        i, f, s, o = gate[:, :H], gate[:, H : 2 * H], gate[:, 2 * H : 3 * H], gate[:, 3 * H :]
        if peephole is not None:
            i.addcmul_(c, peephole[0])
            f.addcmul_(c, peephole[1])
            gate[:, : 3 * H].sigmoid_()
        else:
            gate.sigmoid_()
        c_new = cells[t]
        if fold == 1.0:
            torch.mul(f, c, out=c_new).addcmul_(i, s)
        else:
            torch.addcmul(i, f, c, out=c_new).addcmul_(i, s, value=-2.0)
        if peephole is not None:
            o.addcmul_(c_new, peephole[2]).sigmoid_()
        torch.add(c_new, c_new, alpha=-3.0, out=v).sigmoid_()  # of −2c
        h, c = hidden[t], c_new
        if h.dtype == o.dtype:
            torch.addcmul(o, o, v, value=-2.0, out=h)
        else:
            h.copy_(torch.addcmul(o, o, v, value=-2.0, out=v))


@loop
def backward_loop(
    grad_hidden: Tensor | None,
    grad_cells: Tensor | None,
    cells: Tensor,
    c_first: Tensor,
    gates: Tensor,
    weight: Tensor,
    peephole: Tensor | None,
    fold: float,
    rows: Tensor,
    rows_low: Tensor,
    grad_h: Tensor,
    grad_h_low: Tensor,
    grad_c: Tensor,
    v: Tensor,
    scratch: Tensor,
) -> None:
    """Fill `rows` [k, B, 4H], the gradient before each σ; take `grad_h` and `grad_c` [B, H] back to before the chunk.

    With δ the gradient before a σ and ∂ that of a value:
    δo = ∂h ⊙ (1 − 2v) ⊙ o(1 − o),  ∂c += 4 ∂h ⊙ o ⊙ v(1 − v) + δo ⊙ p_o,
    δi = ∂c ⊙ g ⊙ i(1 − i),  δf = ∂c ⊙ c′ ⊙ f(1 − f),  δs = ∂c ⊙ i ⊙ s(1 − s), to be multiplied by `fold`,
    ∂c′ = ∂c ⊙ f + δi ⊙ p_i + δf ⊙ p_f,  ∂h′ = δ W_hh, where `weight` holds `fold` once more.
    `v` and `scratch` [B, H] are scratch; for 16-bit weights `rows_low` and `grad_h_low` too are filled.
    """
    H = cells.shape[2]
    for t in range(cells.shape[0] - 1, -1, -1):
        gate, grad = gates[t], rows[t]
        c_before = cells[t - 1] if t > 0 else c_first
        i, f, s, o = gate[:, :H], gate[:, H : 2 * H], gate[:, 2 * H : 3 * H], gate[:, 3 * H :]
        grad_i, grad_f = grad[:, :H], grad[:, H : 2 * H]
        grad_s, grad_o = grad[:, 2 * H : 3 * H], grad[:, 3 * H :]
        if grad_hidden is not None:
            grad_h.add_(grad_hidden[t])
        if grad_cells is not None:
            grad_c.add_(grad_cells[t])
        torch.add(cells[t], cells[t], alpha=-3.0, out=v).sigmoid_()  # of −2c
        torch.addcmul(grad_h, grad_h, v, value=-2.0, out=grad_o)
        torch.mul(grad_h, o, out=scratch)
        torch.ops.aten.sigmoid_backward(scratch, v, grad_input=scratch)
        grad_c.add_(scratch, alpha=4.0)
        if peephole is not None:
            torch.ops.aten.sigmoid_backward(grad_o, o, grad_input=grad_o)
            grad_c.addcmul_(grad_o, peephole[2])
        if fold == 1.0:
            torch.mul(grad_c, s, out=grad_i)
        else:
            torch.addcmul(grad_c, grad_c, s, value=-2.0, out=grad_i)
        torch.mul(grad_c, c_before, out=grad_f)
        torch.mul(grad_c, i, out=grad_s)
        grad_c.mul_(f)
        if peephole is not None:
            first = grad[:, : 3 * H]
            torch.ops.aten.sigmoid_backward(first, gate[:, : 3 * H], grad_input=first)
            grad_c.addcmul_(grad_i, peephole[0]).addcmul_(grad_f, peephole[1])
        else:
            torch.ops.aten.sigmoid_backward(grad, gate, grad_input=grad)
        if weight.dtype == grad.dtype:
            torch.mm(grad, weight, out=grad_h)
        else:
            torch.mm(rows_low[t].copy_(grad), weight, out=grad_h_low)
            grad_h.copy_(grad_h_low)


@recurrent_operator("peephole::lstm")
def lstm_operator(
    inputs: Tensor,
    embedding: Tensor | None,
    weight_ih: Tensor,
    weight_hh: Tensor,
    bias: Tensor | None,
    peephole: Tensor | None,
    h_0: Tensor,
    c_0: Tensor,
    lengths: Tensor | None,
    candidate: str,
    keep: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Return all states [T, B, H], the last valid state and cell [B, H], and for the backward pass cells and gates.

    The arguments are those of `kernels.reference.lstm`; `keep` says whether to keep the gates [T, B, 4H]. States after
    a row's last valid step have no meaning.
    """
    (T, B), H = inputs.shape[:2], weight_hh.shape[1]
    fold = _fold(candidate)
    projection = _project(inputs, embedding, weight_ih, bias, fold)
    weight_t = scale_rows(weight_hh, fold, 2 * H, 3 * H).T.contiguous()
    hidden, cells = workspace(h_0, T, B, H), workspace(c_0, T, B, H)
    gates = workspace(h_0, T if keep else 0, B, 4 * H)
    here = keep and h_0.dtype == c_0.dtype  # the loop works on the kept gates themselves
    chunk = workspace(c_0, 0 if here else chunk_steps(T, B), B, 4 * H)
    product, v = h_0.new_empty(B, 4 * H), torch.empty_like(c_0)
    h, c = h_0, c_0
    for t, end in chunks(T, B):
        gate = gates[t:end] if here else chunk[: end - t]
        projection.write(t, gate)
        forward_loop(gate, h, c, weight_t, peephole, fold, hidden[t:end], cells[t:end], product, v)
        if keep and not here:
            keep_gates(gates[t:end], gate, 2 * H, H, fold)
        h, c = hidden[end - 1], cells[end - 1]
    return hidden, last_rows(hidden, lengths), last_rows(cells, lengths), cells, gates


@lstm_operator.register_fake
def _(*arguments: Any) -> tuple[Tensor, ...]:
    inputs, *_, h_0, c_0, _, _, keep = arguments
    T, (B, H) = inputs.shape[0], h_0.shape
    gates = h_0.new_empty(T if keep else 0, B, 4 * H)
    return h_0.new_empty(T, B, H), h_0.new_empty(B, H), c_0.new_empty(B, H), c_0.new_empty(T, B, H), gates


def lstm_backward(
    grads: list[Tensor | None], results: list[Tensor], tensors: list[Any], candidate: str, wanted: list[bool]
) -> list[Tensor | None]:
    """Return the gradients of `lstm_operator`'s tensors."""
    grad_hidden, grad_h_n, grad_c_n, *_ = grads
    hidden, _, _, cells, gates = results
    inputs, embedding, weight_ih, weight_hh, bias, peephole, h_0, c_0, lengths = tensors
    T, B, H = hidden.shape
    fold, keep = _fold(candidate), len(gates) > 0
    projection = _project(inputs, embedding, weight_ih, bias, fold)
    # The rows lack a `fold` for the candidate's pre-activation, its weights another.
    weight_t = scale_rows(weight_hh, fold, 2 * H, 3 * H).T
    weight_hh, weight_ih = (scale_rows(weight, fold**2, 2 * H, 3 * H) for weight in (weight_hh, weight_ih))
    projection.start_gradients(weight_ih, c_0.dtype, wanted[0])
    grad_weight_hh = torch.zeros_like(weight_hh, dtype=c_0.dtype)
    grad_peephole = c_0.new_zeros(3, H)
    grad_h, grad_c, grad_cells = torch.zeros_like(c_0), torch.zeros_like(c_0), None
    if lengths is None:
        grad_h = grad_h if grad_h_n is None else grad_h.add_(grad_h_n)
        grad_c = grad_c if grad_c_n is None else grad_c.add_(grad_c_n)
    else:
        grad_hidden = spread_last(grad_hidden, grad_h_n, lengths, cells)
        grad_cells = spread_last(None, grad_c_n, lengths, cells)
    k, same = chunk_steps(T, B), h_0.dtype == c_0.dtype
    chunk, rows = workspace(c_0, 0 if keep and same else k, B, 4 * H), workspace(c_0, k, B, 4 * H)
    rows_low = rows if same else workspace(h_0, k, B, 4 * H)
    grad_h_low, v, scratch = torch.empty_like(h_0), torch.empty_like(c_0), torch.empty_like(c_0)
    for t, end in reversed(chunks(T, B)):
        n = end - t
        if keep:
            gate = gates[t:end] if same else kept_gates(chunk[:n], gates[t:end], 2 * H, H, fold)
        else:
            gate = chunk[:n]
            _rebuild(gate, t, projection, hidden, cells, weight_t, peephole, h_0, c_0)
        backward_loop(
            None if grad_hidden is None else grad_hidden[t:end],
            None if grad_cells is None else grad_cells[t:end],
            cells[t:end], cells[t - 1] if t else c_0, gate, weight_hh, peephole, fold,
            rows[:n], rows_low[:n], grad_h, grad_h_low, grad_c, v, scratch,
        )  # fmt: skip
        projection.collect(t, rows[:n], rows_low[:n])
        collect_recurrent(grad_weight_hh, t, rows_low[:n], hidden, h_0)
        if peephole is not None:
            grad_peephole += _grad_peephole(rows[:n], cells[t:end], cells[t - 1] if t else c_0)
    grad_inputs, grad_embedding, grad_weight_ih, grad_bias = projection.gradients()
    return [
        grad_inputs,
        grad_embedding,
        *(scale_rows(gradient, fold**2, 2 * H, 3 * H) for gradient in (grad_weight_ih, grad_weight_hh, grad_bias)),
        grad_peephole,
        grad_h,
        grad_c,
        None,
    ]


register_backward(lstm_operator, "peephole::lstm_backward", lstm_backward, reference.lstm)


def lstm(
    inputs: Tensor,
    embedding: Tensor | None,
    weight_ih: Tensor,
    weight_hh: Tensor,
    bias: Tensor | None,
    peephole: Tensor | None,
    h_0: Tensor,
    c_0: Tensor,
    lengths: Tensor | None,
    candidate: str,
    keep: bool = True,
) -> tuple[Tensor, Tensor, Tensor]:
    """Return all states [T, B, H], the last valid state and cell [B, H], as `kernels.reference.lstm` does."""
    low = compute_dtype(weight_hh)
    high = accumulation_dtype(low)
    inputs, embedding, weight_ih, bias = lower(inputs, embedding, weight_ih, bias, low)
    hidden, h_n, c_n, _, _ = lstm_operator(
        inputs, embedding, weight_ih, weight_hh.to(low), bias, None if peephole is None else peephole.to(high),
        h_0.to(low), c_0.to(high), lengths, candidate, keep,
    )  # fmt: skip
    return hidden, h_n, c_n.to(low)


def _fold(candidate: str) -> float:
    return -2.0 if candidate == "tanh" else 1.0


def _project(
    inputs: Tensor, embedding: Tensor | None, weight_ih: Tensor, bias: Tensor | None, fold: float
) -> Projection:
    """Return the inputs' share of the gates, `fold` multiplied into the candidate's."""
    H = len(weight_ih) // 4
    bias = None if bias is None else scale_rows(bias, fold, 2 * H, 3 * H)
    return Projection(inputs, embedding, scale_rows(weight_ih, fold, 2 * H, 3 * H), bias)


def _rebuild(
    gates: Tensor,
    t: int,
    projection: Projection,
    hidden: Tensor,
    cells: Tensor,
    weight_t: Tensor,
    peephole: Tensor | None,
    h_0: Tensor,
    c_0: Tensor,
) -> None:
    """Compute the gates [k, B, 4H] of a chunk anew from the stored states, all steps at once."""
    k, H = len(gates), cells.shape[2]
    projection.write(t, gates)
    add_recurrent(gates, t, hidden, h_0, weight_t)
    if peephole is not None:
        before = torch.cat([c_0[None] if t == 0 else cells[t - 1 : t], cells[t : t + k - 1]])
        gates[..., :H].addcmul_(before, peephole[0])
        gates[..., H : 2 * H].addcmul_(before, peephole[1])
        gates[..., 3 * H :].addcmul_(cells[t : t + k], peephole[2])
    gates.sigmoid_()


def _grad_peephole(rows: Tensor, cells: Tensor, c_first: Tensor) -> Tensor:
    """Return a chunk's share Σ_t [δi ⊙ c′, δf ⊙ c′, δo ⊙ c] of the peepholes' gradient [3, H]."""
    H = cells.shape[2]
    before = torch.cat([c_first[None], cells[:-1]])
    grad_i, grad_f, grad_o = rows[..., :H], rows[..., H : 2 * H], rows[..., 3 * H :]
    return torch.stack([(grad * c).sum((0, 1)) for grad, c in ((grad_i, before), (grad_f, before), (grad_o, cells))])
