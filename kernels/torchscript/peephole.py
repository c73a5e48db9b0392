"""The full-matrix peephole LSTM of the study. Forward and backward loops over the cells, one operator.

i = σ(ĩ + W_ic c′), f = σ(f̃ + W_fc c′), c = z ⊙ i + c′ ⊙ f; then o = σ(õ + W_oc c′), h = tanh(c) ⊙ o, where the tilde
marks W x + b and z is the candidate, a function of the input alone.

Nothing feeds o or h back: the serial part is [i, f] on c′, a 2H × H of the 3H × H weight. The operator returns the
cells; the output gate and the states follow from them in `output_gate.py`, and for a classifier, which reads the last
state, for one step alone. As in the LSTM, s = σ(fold · z̃), with z = s for a logistic candidate, where
fold = 1, and z = 1 − 2s for a tanh, where fold = −2; so the three gates i, f, s of a step are one σ over [B, 3H].

Legend: B batch, T time, I input, H hidden, V vocabulary, k steps of a chunk.
"""

from typing import Any

import torch
from torch import Tensor

from kernels import reference
from kernels.dtypes import accumulation_dtype, compute_dtype, lower, without_autocast
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
from kernels.torchscript.output_gate import eager_output, output_operator
from kernels.torchscript.script import add_product, loop


@loop
def forward_loop(
    gates: Tensor,
    c: Tensor,
    weight_t: Tensor,
    fold: float,
    cells: Tensor,
    product: Tensor,
) -> None:
    """Fill `cells` [k, B, H] from c [B, H]; turn `gates` [k, B, 3H] from W x + b into i, f, s. `product` is scratch."""
    H = cells.shape[2]
    for t in range(cells.shape[0]):
        gate = gates[t]
        add_product(gate[:, : 2 * H], c.to(weight_t.dtype), weight_t, product)
        gate.sigmoid_()
        i, f, s = gate[:, :H], gate[:, H : 2 * H], gate[:, 2 * H :]
        c_new = cells[t]
        if fold == 1.0:
            torch.mul(f, c, out=c_new).addcmul_(i, s)
        else:
            torch.addcmul(i, f, c, out=c_new).addcmul_(i, s, value=-2.0)
        c = c_new


@loop
def backward_loop(
    grad_cells: Tensor | None,
    cells: Tensor,
    c_first: Tensor,
    gates: Tensor,
    weight: Tensor,
    fold: float,
    rows: Tensor,
    rows_low: Tensor,
    grad_c: Tensor,
    product: Tensor,
) -> None:
    """Fill `rows` [k, B, 3H], the gradient before each σ; take `grad_c` [B, H] back to before the chunk.

    δi = ∂c ⊙ z ⊙ i(1 − i),  δf = ∂c ⊙ c′ ⊙ f(1 − f),  δs = ∂c ⊙ i ⊙ s(1 − s), to be multiplied by `fold`,
    ∂c′ = ∂c ⊙ f + [δi, δf] W.
    `product` [B, H] is scratch; for 16-bit weights `rows_low` too is filled.
    """
    H = cells.shape[2]
    for t in range(cells.shape[0] - 1, -1, -1):
        gate, grad = gates[t], rows[t]
        c_before = cells[t - 1] if t > 0 else c_first
        i, f, s = gate[:, :H], gate[:, H : 2 * H], gate[:, 2 * H :]
        grad_i, grad_f, grad_s = grad[:, :H], grad[:, H : 2 * H], grad[:, 2 * H :]
        if grad_cells is not None:
            grad_c.add_(grad_cells[t])
        if fold == 1.0:
            torch.mul(grad_c, s, out=grad_i)
        else:
            torch.addcmul(grad_c, grad_c, s, value=-2.0, out=grad_i)
        torch.mul(grad_c, c_before, out=grad_f)
        torch.mul(grad_c, i, out=grad_s)
        torch.ops.aten.sigmoid_backward(grad, gate, grad_input=grad)
        grad_c.mul_(f)
        if weight.dtype == grad.dtype:
            grad_c.addmm_(grad[:, : 2 * H], weight)
        else:
            low = rows_low[t]
            low.copy_(grad)
            torch.mm(low[:, : 2 * H], weight, out=product)
            grad_c.add_(product)


@recurrent_operator("peephole::peephole_cells")
def cells_operator(
    inputs: Tensor,
    embedding: Tensor | None,
    weight_ih: Tensor,
    weight_ch: Tensor,
    bias: Tensor | None,
    c_0: Tensor,
    lengths: Tensor | None,
    candidate: str,
    keep: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return all cells [T, B, H], the last valid one and the one before it [B, H], and for the backward pass gates.

    The arguments are those of `eager_cells`; c_0 is of the accumulation dtype, and `keep` says whether to keep the
    gates [T, B, 3H]. Cells after a row's last valid step have no meaning.
    """
    (T, B), H = inputs.shape[:2], weight_ch.shape[1]
    fold = _fold(candidate)
    projection = _project(inputs, embedding, weight_ih, bias, fold)
    weight_t = weight_ch.T.contiguous()
    cells, gates = workspace(c_0, T, B, H), workspace(weight_ch, T if keep else 0, B, 3 * H)
    here = keep and weight_ch.dtype == c_0.dtype  # the loop works on the kept gates themselves
    chunk = workspace(c_0, 0 if here else chunk_steps(T, B), B, 3 * H)
    product, c = weight_ch.new_empty(B, 2 * H), c_0
    for t, end in chunks(T, B):
        gate = gates[t:end] if here else chunk[: end - t]
        projection.write(t, gate)
        forward_loop(gate, c, weight_t, fold, cells[t:end], product)
        if keep and not here:
            keep_gates(gates[t:end], gate, 2 * H, H, fold)
        c = cells[end - 1]
    if lengths is None:
        c_before = (cells[-2] if T > 1 else c_0).clone()
    else:
        c_before = torch.where((lengths > 1)[:, None], last_rows(cells, (lengths - 1).clamp(min=1)), c_0)
    return cells, last_rows(cells, lengths), c_before, gates


@cells_operator.register_fake
def _(*arguments: Any) -> tuple[Tensor, ...]:
    inputs, _, _, weight_ch, _, c_0, _, _, keep = arguments
    T, (B, H) = inputs.shape[0], c_0.shape
    gates = weight_ch.new_empty(T if keep else 0, B, 3 * H)
    return c_0.new_empty(T, B, H), c_0.new_empty(B, H), c_0.new_empty(B, H), gates


def cells_backward(
    grads: list[Tensor | None], results: list[Tensor], tensors: list[Any], candidate: str, wanted: list[bool]
) -> list[Tensor | None]:
    """Return the gradients of `cells_operator`'s tensors."""
    grad_cells, grad_last, grad_before, _ = grads
    cells, _, _, gates = results
    inputs, embedding, weight_ih, weight_ch, bias, c_0, lengths = tensors
    T, B, H = cells.shape
    fold, keep = _fold(candidate), len(gates) > 0
    projection = _project(inputs, embedding, weight_ih, bias, fold)
    # The rows lack a `fold` for the candidate's pre-activation, its weights another.
    projection.start_gradients(scale_rows(weight_ih, fold**2, 2 * H, 3 * H), c_0.dtype, wanted[0])
    grad_weight_ch = torch.zeros_like(weight_ch, dtype=c_0.dtype)
    grad_c, grad_c_0 = torch.zeros_like(c_0), torch.zeros_like(c_0)
    if lengths is not None:
        grad_cells = spread_last(grad_cells, grad_last, lengths, cells)
        if grad_before is not None:
            first = (lengths == 1)[:, None]  # rows of one valid step: the cell before it is c_0
            grad_c_0 = torch.where(first, grad_before, grad_c_0)
            grad_cells = spread_last(grad_cells, grad_before.masked_fill(first, 0), (lengths - 1).clamp(min=1), cells)
        grad_last = grad_before = None
    elif grad_last is not None:
        grad_c += grad_last
    k, same = chunk_steps(T, B), weight_ch.dtype == c_0.dtype
    chunk, rows = workspace(c_0, 0 if keep and same else k, B, 3 * H), workspace(c_0, k, B, 3 * H)
    rows_low = rows if same else workspace(weight_ch, k, B, 3 * H)
    product = weight_ch.new_empty(B, H)
    for t, end in reversed(chunks(T, B)):
        n = end - t
        gate = chunk[:n]
        if not keep:
            projection.write(t, gate)
            add_recurrent(gate[..., : 2 * H], t, cells, c_0, weight_ch.T)
            gate.sigmoid_()
        elif same:
            gate = gates[t:end]
        else:
            kept_gates(gate, gates[t:end], 2 * H, H, fold)
        grad_chunk = None if grad_cells is None else grad_cells[t:end]
        if grad_before is not None and t <= T - 2 < end:
            grad_chunk = torch.zeros_like(cells[t:end]) if grad_chunk is None else grad_chunk.clone()
            grad_chunk[T - 2 - t] += grad_before
        backward_loop(
            grad_chunk, cells[t:end], cells[t - 1] if t else c_0, gate, weight_ch, fold, rows[:n], rows_low[:n],
            grad_c, product,
        )  # fmt: skip
        projection.collect(t, rows[:n], rows_low[:n])
        collect_recurrent(grad_weight_ch, t, rows_low[:n, :, : 2 * H], cells, c_0)
    if grad_before is not None and T == 1:
        grad_c_0 += grad_before
    grad_inputs, grad_embedding, grad_weight_ih, grad_bias = projection.gradients()
    return [
        grad_inputs,
        grad_embedding,
        scale_rows(grad_weight_ih, fold**2, 2 * H, 3 * H),
        grad_weight_ch,
        scale_rows(grad_bias, fold**2, 2 * H, 3 * H),
        grad_c + grad_c_0,
        None,
    ]


def eager_cells(
    inputs: Tensor,
    embedding: Tensor | None,
    weight_ih: Tensor,
    weight_ch: Tensor,
    bias: Tensor | None,
    c_0: Tensor,
    lengths: Tensor | None,
    candidate: str,
) -> tuple[Tensor, Tensor, Tensor]:
    """Return what `cells_operator` does, in differentiable operations: cells, the last valid one, the one before it."""
    H = weight_ch.shape[1]

    def step(share: Tensor, state: reference.State) -> reference.State:
        c = state[0]
        i, f = torch.sigmoid(share[:, : 2 * H] + c @ weight_ch.T).chunk(2, dim=1)
        return getattr(torch, candidate)(share[:, 2 * H :]) * i + c * f, c

    cells, c, c_before = reference.loop(
        step, reference.project(inputs, embedding, weight_ih, bias), (c_0, c_0), lengths
    )
    return cells, c, c_before


register_backward(cells_operator, "peephole::peephole_cells_backward", cells_backward, eager_cells)


def peephole_lstm(
    inputs: Tensor,
    embedding: Tensor | None,
    weight_ih: Tensor,
    weight_ch: Tensor,
    bias: Tensor | None,
    c_0: Tensor,
    lengths: Tensor | None,
    candidate: str,
    last_only: bool = False,
    keep: bool = True,
) -> tuple[Tensor, Tensor, Tensor]:
    """Return all states [T, B, H], the last valid state and cell [B, H], as `kernels.reference.peephole_lstm` does.

    With `last_only` the first of them is empty, and the output gate is computed for the last valid step alone.
    """
    H, low = weight_ch.shape[1], compute_dtype(weight_ch)
    inputs, embedding, weight_ih, bias = lower(inputs, embedding, weight_ih, bias, low)
    weight_ch, c_0 = weight_ch.to(low), c_0.to(accumulation_dtype(low))
    (weight_x, weight_o), (bias_x, bias_o) = weight_ih.split([3 * H, H]), (None, None)
    if bias is not None:
        bias_x, bias_o = bias.split([3 * H, H])
    cells, c_n, c_before, _ = cells_operator(
        inputs, embedding, weight_x, weight_ch[: 2 * H], bias_x, c_0, lengths, candidate, keep
    )
    weight_oc = weight_ch[2 * H :]
    if last_only:
        steps = -1 if lengths is None else lengths - 1
        own = inputs[steps, torch.arange(c_0.shape[0], device=c_0.device)][None]  # [1, B, …]
        with without_autocast(c_0.device):
            (h_n,) = eager_output(own, embedding, weight_o, weight_oc, bias_o, c_before, c_n[None])
        return h_n.new_empty(0, *h_n.shape[1:], dtype=low), h_n[0].to(low), c_n.to(low)
    hidden, _ = output_operator(inputs, embedding, weight_o, weight_oc, bias_o, c_0, cells, "", keep)
    return hidden, last_rows(hidden, lengths), c_n.to(low)


def _fold(candidate: str) -> float:
    return -2.0 if candidate == "tanh" else 1.0


def _project(
    inputs: Tensor, embedding: Tensor | None, weight_ih: Tensor, bias: Tensor | None, fold: float
) -> Projection:
    """Return the inputs' share of the gates, `fold` multiplied into the candidate's."""
    H = len(weight_ih) // 3
    bias = None if bias is None else scale_rows(bias, fold, 2 * H, 3 * H)
    return Projection(inputs, embedding, scale_rows(weight_ih, fold, 2 * H, 3 * H), bias)
