"""The GRU. Forward and backward loops, one operator.

r = σ(r̃), z = σ(z̃), q = W_hn h′ + b_hn, n = tanh(ñ + r ⊙ q), h = (1 − z) ⊙ n + z ⊙ h′, where ñ = W_in x + b_in, and the
other tildes mark the sum of both weights' products and both biases.

As tanh(x) = 2 σ(2x) − 1 and a logistic is several times cheaper than a tanh on a CPU, the 2 is multiplied into the
candidate's weights: s = σ(2ñ + r ⊙ 2q), n = 2s − 1. Gates are kept in the order s, r, z, and the doubled q beside
them: then the gradients of the input's side, s, r, z, and of the recurrent side, r, z, q, overlap in one buffer.

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
from kernels.torchscript.script import loop


@loop
def forward_loop(
    gates: Tensor,
    candidates: Tensor,
    h: Tensor,
    weight_t: Tensor,
    bias_n: Tensor,
    hidden: Tensor,
    product: Tensor,
) -> None:
    """Fill `hidden` [k, B, H] from h [B, H]; turn `gates` [k, B, 3H] from W x + b into s, r, z; fill `candidates`, q.

    `product` [B, 3H] is scratch.
    """
    H, minus_one = hidden.shape[2], gates.new_full((), -1.0)
    for t in range(hidden.shape[0]):
        gate, q, h_new = gates[t], candidates[t], hidden[t]
        torch.mm(h.to(weight_t.dtype), weight_t, out=product)
        gate[:, H:].add_(product[:, : 2 * H]).sigmoid_()
        s, r, z = gate[:, :H], gate[:, H : 2 * H], gate[:, 2 * H :]
        torch.add(bias_n, product[:, 2 * H :], out=q)
        s.addcmul_(r, q).sigmoid_()
        torch.add(minus_one, s, alpha=2.0, out=h_new)
        torch.lerp(h_new, h, z, out=h_new)
        h = h_new


@loop
def backward_loop(
    grad_hidden: Tensor | None,
    hidden: Tensor,
    h_first: Tensor,
    gates: Tensor,
    candidates: Tensor,
    weight: Tensor,
    rows: Tensor,
    rows_low: Tensor,
    grad_h: Tensor,
    product: Tensor,
    scratch: Tensor,
) -> None:
    """Fill `rows` [k, B, 4H], the gradients δs, δr, δz, δq; take `grad_h` [B, H] back to before the chunk.

    δz = ∂h ⊙ (h′ − n) ⊙ z(1 − z),  δs = 2 ∂h ⊙ (1 − z) ⊙ s(1 − s),  δr = δs ⊙ q ⊙ r(1 − r),  δq = δs ⊙ r,
    ∂h′ = ∂h ⊙ z + [δr, δz, δq] W_hh.
    `product` and `scratch` [B, H] are scratch; for 16-bit weights `rows_low` too is filled.
    """
    H = hidden.shape[2]
    for t in range(hidden.shape[0] - 1, -1, -1):
        gate, grad, q = gates[t], rows[t], candidates[t]
        h = hidden[t - 1] if t > 0 else h_first
        s, r, z = gate[:, :H], gate[:, H : 2 * H], gate[:, 2 * H :]
        grad_s, grad_r = grad[:, :H], grad[:, H : 2 * H]
        grad_z, grad_q = grad[:, 2 * H : 3 * H], grad[:, 3 * H :]
        if grad_hidden is not None:
            grad_h.add_(grad_hidden[t])
        torch.add(h, s, alpha=-2.0, out=scratch).add_(1.0)  # h′ − n
        torch.mul(grad_h, scratch, out=grad_z)
        torch.mul(grad_h, z, out=scratch)
        torch.sub(grad_h, scratch, out=grad_s).mul_(2.0)
        torch.ops.aten.sigmoid_backward(grad_s, s, grad_input=grad_s)
        torch.mul(grad_s, q, out=grad_r)
        torch.mul(grad_s, r, out=grad_q)
        both = grad[:, H : 3 * H]
        torch.ops.aten.sigmoid_backward(both, gate[:, H:], grad_input=both)
        if weight.dtype == grad.dtype:
            torch.addmm(scratch, grad[:, H:], weight, out=grad_h)
        else:
            low = rows_low[t]
            low.copy_(grad)
            torch.mm(low[:, H:], weight, out=product)
            torch.add(scratch, product, out=grad_h)


@recurrent_operator("peephole::gru")
def gru_operator(
    inputs: Tensor,
    embedding: Tensor | None,
    weight_ih: Tensor,
    weight_hh: Tensor,
    bias_ih: Tensor | None,
    bias_hh: Tensor | None,
    h_0: Tensor,
    lengths: Tensor | None,
    word: str,
    keep: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return all states [T, B, H], the last valid one [B, H], and for the backward pass gates and candidates.

    The arguments are those of `kernels.reference.gru`; h_0 is of the accumulation dtype, `word` is not used, and `keep`
    says whether to keep the gates [T, B, 3H] and candidates [T, B, H]. States after a row's last valid step have no
    meaning.
    """
    (T, B), H = inputs.shape[:2], weight_hh.shape[1]
    projection, weight_hh, bias_n = _fold(inputs, embedding, weight_ih, weight_hh, bias_ih, bias_hh)
    weight_t, same = weight_hh.T.contiguous(), weight_hh.dtype == h_0.dtype
    k = chunk_steps(T, B)
    hidden = workspace(h_0, T, B, H)
    kept, here = T if keep else 0, keep and same  # here: the loop works on the kept gates themselves
    gates, candidates = workspace(weight_hh, kept, B, 3 * H), workspace(weight_hh, kept, B, H)
    chunk_gates, chunk_q = (workspace(h_0, 0 if here else k, B, width * H) for width in (3, 1))
    product = weight_hh.new_empty(B, 3 * H)
    h = h_0
    for t, end in chunks(T, B):
        n = end - t
        gate, q = (gates[t:end], candidates[t:end]) if here else (chunk_gates[:n], chunk_q[:n])
        projection.write(t, gate)
        forward_loop(gate, q, h, weight_t, bias_n, hidden[t:end], product)
        if keep and not here:
            keep_gates(gates[t:end], gate, 0, H, 2.0)
            candidates[t:end] = q
        h = hidden[end - 1]
    return hidden, last_rows(hidden, lengths), gates, candidates


@gru_operator.register_fake
def _(*arguments: Any) -> tuple[Tensor, ...]:
    inputs, _, _, weight_hh, _, _, h_0, _, _, keep = arguments
    T, (B, H) = inputs.shape[0], h_0.shape
    kept = T if keep else 0
    gates = weight_hh.new_empty(kept, B, 3 * H), weight_hh.new_empty(kept, B, H)
    return h_0.new_empty(T, B, H), h_0.new_empty(B, H), *gates


def gru_backward(
    grads: list[Tensor | None], results: list[Tensor], tensors: list[Any], word: str, wanted: list[bool]
) -> list[Tensor | None]:
    """Return the gradients of `gru_operator`'s tensors."""
    grad_hidden, grad_h_n, *_ = grads
    hidden, _, gates, candidates = results
    inputs, embedding, weight_ih, weight_hh, bias_ih, bias_hh, h_0, lengths = tensors
    T, B, H = hidden.shape
    keep, same, high = len(gates) > 0, weight_hh.dtype == h_0.dtype, h_0.dtype
    projection, weight_hh, bias_n = _fold(inputs, embedding, weight_ih, weight_hh, bias_ih, bias_hh)
    projection.start_gradients(projection.weight, high, wanted[0])
    grad_weight_hh, grad_bias_n = torch.zeros_like(weight_hh, dtype=high), h_0.new_zeros(H)
    grad_h = torch.zeros_like(h_0)
    if lengths is not None:
        grad_hidden = spread_last(grad_hidden, grad_h_n, lengths, hidden)
    elif grad_h_n is not None:
        grad_h += grad_h_n
    k = chunk_steps(T, B)
    chunk_gates, chunk_q = (workspace(h_0, 0 if keep and same else k, B, width * H) for width in (3, 1))
    rows = workspace(h_0, k, B, 4 * H)
    rows_low = rows if same else workspace(weight_hh, k, B, 4 * H)
    product, scratch = weight_hh.new_empty(B, H), torch.empty_like(h_0)
    for t, end in reversed(chunks(T, B)):
        n = end - t
        gate, q = chunk_gates[:n], chunk_q[:n]
        if not keep:
            _rebuild(gate, q, t, projection, hidden, weight_hh, bias_n, h_0)
        elif same:
            gate, q = gates[t:end], candidates[t:end]
        else:
            kept_gates(gate, gates[t:end], 0, H, 2.0)
            q.copy_(candidates[t:end])
        backward_loop(
            None if grad_hidden is None else grad_hidden[t:end], hidden[t:end],
            hidden[t - 1] if t else h_0, gate, q, weight_hh, rows[:n], rows_low[:n], grad_h, product, scratch,
        )  # fmt: skip
        projection.collect(t, rows[:n], rows_low[:n])
        collect_recurrent(grad_weight_hh, t, rows_low[:n, :, H:], hidden, h_0)
        grad_bias_n += rows[:n, :, 3 * H :].sum((0, 1))
    grad_inputs, grad_embedding, grad_weight_ih, grad_bias = projection.gradients()
    grad_bias = grad_bias.roll(-H, 0)  # of r, z, s
    return [
        grad_inputs,
        grad_embedding,
        scale_rows(grad_weight_ih.roll(-H, 0), 2.0, 2 * H, 3 * H),
        scale_rows(grad_weight_hh, 2.0, 2 * H, 3 * H),
        scale_rows(grad_bias, 2.0, 2 * H, 3 * H),
        torch.cat([grad_bias[: 2 * H], 2 * grad_bias_n]),
        grad_h,
        None,
    ]


register_backward(
    gru_operator,
    "peephole::gru_backward",
    gru_backward,
    lambda *tensors_and_word: reference.gru(*tensors_and_word[:-1]),
)


def gru(
    inputs: Tensor,
    embedding: Tensor | None,
    weight_ih: Tensor,
    weight_hh: Tensor,
    bias_ih: Tensor | None,
    bias_hh: Tensor | None,
    h_0: Tensor,
    lengths: Tensor | None,
    keep: bool = True,
) -> tuple[Tensor, Tensor]:
    """Return all states [T, B, H] and the last valid one [B, H], as `kernels.reference.gru` does."""
    low = compute_dtype(weight_hh)
    high = accumulation_dtype(low)
    inputs, embedding, weight_ih, bias_ih = lower(inputs, embedding, weight_ih, bias_ih, low)
    bias_hh = None if bias_hh is None else bias_hh.to(high)
    hidden, h_n, _, _ = gru_operator(
        inputs, embedding, weight_ih, weight_hh.to(low), bias_ih, bias_hh, h_0.to(high), lengths, "", keep
    )
    return hidden, h_n


def _fold(
    inputs: Tensor,
    embedding: Tensor | None,
    weight_ih: Tensor,
    weight_hh: Tensor,
    bias_ih: Tensor | None,
    bias_hh: Tensor | None,
) -> tuple[Projection, Tensor, Tensor]:
    """Double the candidate's weights and put it first on the input side; return that side, the recurrent one, b_hn."""
    H = weight_hh.shape[1]
    bias_n = weight_hh.new_zeros(H, dtype=accumulation_dtype(weight_hh.dtype))
    bias = None
    if bias_ih is not None and bias_hh is not None:
        bias_n = 2 * bias_hh[2 * H :]
        bias = scale_rows(bias_ih, 2.0, 2 * H, 3 * H)
        bias[: 2 * H] += bias_hh[: 2 * H]
        bias = bias.roll(H, 0)
    projection = Projection(inputs, embedding, scale_rows(weight_ih, 2.0, 2 * H, 3 * H).roll(H, 0), bias)
    return projection, scale_rows(weight_hh, 2.0, 2 * H, 3 * H), bias_n


def _rebuild(
    gates: Tensor,
    candidates: Tensor,
    t: int,
    projection: Projection,
    hidden: Tensor,
    weight_hh: Tensor,
    bias_n: Tensor,
    h_0: Tensor,
) -> None:
    """Compute gates [k, B, 3H] and candidates [k, B, H] of a chunk anew from the stored states, all steps at once."""
    H = hidden.shape[2]
    projection.write(t, gates)
    recurrent = torch.zeros_like(gates)
    add_recurrent(recurrent, t, hidden, h_0, weight_hh.T)
    gates[..., H:].add_(recurrent[..., : 2 * H]).sigmoid_()
    torch.add(recurrent[..., 2 * H :], bias_n, out=candidates)
    gates[..., :H].addcmul_(gates[..., H : 2 * H], candidates).sigmoid_()
