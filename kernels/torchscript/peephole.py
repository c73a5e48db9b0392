"""The full-matrix peephole LSTM of the study. Forward and backward loops over the cells, one operator.

i = σ(ĩ + W_ic c′), f = σ(f̃ + W_fc c′), c = z ⊙ i + c′ ⊙ f; then o = σ(õ + W_oc c′), h = tanh(c) ⊙ o, where the tilde
marks W x + b and z is the candidate, a function of the input alone.

Nothing feeds o or h back: the serial part is [i, f] on c′, a 2H × H of the 3H × H weight. The operator returns the
cells; the output gate and the states are one GEMM over all steps after it, by ordinary autograd, and for a classifier,
which reads the last state, over one step. As in the LSTM, z = scale · s + 1 − scale with s = σ(scale · z̃), so that the
three gates i, f, s of a step are one σ over [B, 3H].

Legend: B batch, T time, H hidden, V vocabulary.
"""

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import linear

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
    c_0: Tensor,
    weight_t: Tensor,
    scale: float,
    cells: Tensor,
    gates: Tensor,
    product: Tensor,
) -> None:
    """Fill `cells` [T, B, H] and `gates` [T, B, 3H]; `product` [B, 2H] is scratch."""
    T, H = cells.shape[0], cells.shape[2]
    c = c_0
    for t in range(T):
        gate = gates[t]
        place(gate, projected, ids, t)
        add_product(gate[:, : 2 * H], c.to(weight_t.dtype), weight_t, product)
        gate.sigmoid_()
        i, f, s = gate[:, :H], gate[:, H : 2 * H], gate[:, 2 * H :]
        c_new = cells[t]
        torch.mul(f, c, out=c_new)
        c_new.addcmul_(i, s, value=scale)
        if scale == 2.0:
            c_new.sub_(i)
        c = c_new


@loop
def backward_loop(
    grad_cells: Tensor | None,
    c_0: Tensor,
    weight: Tensor,
    scale: float,
    cells: Tensor,
    gates: Tensor,
    grad_gates: Tensor,
    grad_c: Tensor,
) -> None:
    """Fill `grad_gates` [T, B, 3H], the gradient before each σ, and leave that of c_0 in `grad_c` [B, H].

    δi = ∂c ⊙ z ⊙ i(1 − i),  δf = ∂c ⊙ c′ ⊙ f(1 − f),  δs = scale · ∂c ⊙ i ⊙ s(1 − s),  ∂c′ = ∂c ⊙ f + [δi, δf] W.
    """
    T, H = cells.shape[0], cells.shape[2]
    for t in range(T - 1, -1, -1):
        gate, grad = gates[t], grad_gates[t]
        c_before = cells[t - 1] if t > 0 else c_0
        i, f, s = gate[:, :H], gate[:, H : 2 * H], gate[:, 2 * H :]
        grad_i, grad_f, grad_s = grad[:, :H], grad[:, H : 2 * H], grad[:, 2 * H :]
        if grad_cells is not None:
            grad_c.add_(grad_cells[t])
        torch.mul(grad_c, s, out=grad_i).mul_(scale)
        if scale == 2.0:
            grad_i.sub_(grad_c)
        torch.mul(grad_c, c_before, out=grad_f)
        torch.mul(grad_c, i, out=grad_s).mul_(scale)
        torch.ops.aten.sigmoid_backward(grad, gate, grad_input=grad)
        grad_c.mul_(f).addmm_(grad[:, : 2 * H], weight)


@torch.library.custom_op("peephole::peephole_cells", mutates_args=())
@without_autocast
def cells_operator(
    projected: Tensor, ids: Tensor | None, c_0: Tensor, weight: Tensor, last: Tensor | None, scale: float
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return all cells [T, B, H], the last valid cell and the one before it [B, H], and for the backward pass gates.

    Args:
        projected: W x + b, [T, B, 3H], or for tokens a table [V, 3H], gates i, f, z.
        ids: tokens [T, B] or None.
        c_0: [B, H], of the accumulation dtype.
        weight: [2H, H], gates i, f.
        last: index of each row's last valid step [B], None for T − 1.
        scale: 2 if the candidate is a tanh, 1 if it is a logistic.
    """
    T, B = projected.shape[:2] if ids is None else ids.shape
    H = weight.shape[1]
    cells, gates = c_0.new_empty(T, B, H), c_0.new_empty(T, B, 3 * H)
    forward_loop(projected, ids, c_0, weight.T.contiguous(), scale, cells, gates, weight.new_empty(B, 2 * H))
    if last is None:
        c_before = (cells[-2] if T > 1 else c_0).clone()
    else:
        c_before = torch.where((last > 0)[:, None], last_rows(cells, (last - 1).clamp(min=0)), c_0)
    return cells, last_rows(cells, last), c_before, gates


@cells_operator.register_fake
def _(projected: Tensor, ids: Tensor | None, c_0: Tensor, *_: Any) -> tuple[Tensor, ...]:
    T = projected.shape[0] if ids is None else ids.shape[0]
    B, H = c_0.shape
    return c_0.new_empty(T, B, H), torch.empty_like(c_0), torch.empty_like(c_0), c_0.new_empty(T, B, 3 * H)


@torch.library.custom_op("peephole::peephole_cells_backward", mutates_args=())
@without_autocast
def cells_backward_operator(
    grad_cells: Tensor | None,
    grad_last: Tensor | None,
    grad_before: Tensor | None,
    cells: Tensor,
    gates: Tensor,
    ids: Tensor | None,
    c_0: Tensor,
    weight: Tensor,
    last: Tensor | None,
    scale: float,
    rows: int,
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the gradients of projected, c_0 and weight.

    Args:
        grad_cells: gradient of all cells [T, B, H], None for zeros, like the next two.
        grad_last: gradient of the last valid cells [B, H].
        grad_before: gradient of the cells before those [B, H].
        cells: all cells.
        gates: all gates.
        ids: as in the forward operator, like the rest.
        c_0: initial cells.
        weight: recurrent weight.
        last: index of each row's last valid step.
        scale: 2 for tanh, 1 for the logistic.
        rows: number of rows of the table that `projected` is, where there are ids.
    """
    T = len(cells)
    steps = cells.new_full((cells.shape[1],), T - 1, dtype=torch.long) if last is None else last
    grad_cells = spread_last(grad_cells, grad_last, steps, cells)
    grad_c_0 = torch.zeros_like(c_0)
    if grad_before is not None:
        first = (steps == 0)[:, None]  # rows of one valid step: the cell before it is c_0
        grad_c_0 = torch.where(first, grad_before, grad_c_0)
        grad_cells = spread_last(grad_cells, grad_before.masked_fill(first, 0), (steps - 1).clamp(min=0), cells)
    grad_gates, grad_c = torch.empty_like(gates), torch.zeros_like(c_0)
    backward_loop(grad_cells, c_0, weight.to(cells.dtype), scale, cells, gates, grad_gates, grad_c)
    grad_first_two = grad_gates[..., : gates.shape[2] // 3 * 2]
    return (
        grad_projected(grad_gates, ids, rows),
        grad_c + grad_c_0,
        grad_weight(grad_first_two, cells, c_0).to(weight.dtype),
    )


@cells_backward_operator.register_fake
def _(*arguments: Any) -> tuple[Tensor, ...]:
    *_, gates, ids, c_0, weight, _, _, rows = arguments
    grad_inputs = torch.empty_like(gates) if ids is None else gates.new_empty(rows, gates.shape[2])
    return grad_inputs, torch.empty_like(c_0), torch.empty_like(weight)


def _save(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    projected, ids, c_0, weight, last, scale = inputs
    cells, _, _, gates = output
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(cells, gates, ids, c_0, weight, last)
    ctx.scale, ctx.rows = scale, projected.shape[0]


def _backward(
    ctx: Any, grad_cells: Tensor | None, grad_last: Tensor | None, grad_before: Tensor | None, _: None
) -> tuple[Tensor | None, ...]:
    grads = cells_backward_operator(grad_cells, grad_last, grad_before, *ctx.saved_tensors, ctx.scale, ctx.rows)
    grad_inputs, grad_c_0, grad_weight = grads
    return grad_inputs, None, grad_c_0, grad_weight, None, None


cells_operator.register_autograd(_backward, setup_context=_save)
refuse_second_derivative(cells_backward_operator)


def peephole_lstm(
    inputs: Tensor,
    embedding: Tensor | None,
    weight_ih: Tensor,
    weight_ch: Tensor,
    bias: Tensor | None,
    c_0: Tensor,
    candidate: str,
    lengths: Tensor | None,
    last_only: bool = False,
) -> tuple[Tensor, Tensor, Tensor]:
    """Return all states [T, B, H], the last valid state and cell [B, H], as `kernels.reference.peephole_lstm` does.

    With `last_only` the first of them is empty, and the output gate is computed for the last valid step alone.
    """
    scale = 2.0 if candidate == "tanh" else 1.0
    H = weight_ch.shape[1]
    factors = weight_ch.new_ones(4 * H, 1)
    factors[2 * H : 3 * H] = scale
    projected, ids = project(inputs, embedding, weight_ih * factors, None if bias is None else bias * factors[:, 0])
    serial, projected_o = projected[..., : 3 * H].contiguous(), projected[..., 3 * H :]
    weight_ch = weight_ch.to(compute_dtype(weight_ch))
    weight_if, weight_o = weight_ch[: 2 * H], weight_ch[2 * H :]
    c_0 = c_0.to(accumulation_dtype(weight_ch.dtype))
    last = None if lengths is None else lengths - 1
    cells, c_n, c_before, _ = cells_operator(serial, ids, c_0, weight_if, last, scale)

    def states(share: Tensor, c_earlier: Tensor, c: Tensor) -> Tensor:
        o = torch.sigmoid(share + linear(c_earlier.to(weight_o.dtype), weight_o))
        return (torch.tanh(c) * o).to(weight_o.dtype)

    if last_only:
        at = (-1 if last is None else last, torch.arange(c_0.shape[0], device=c_0.device))
        share = projected_o[at] if ids is None else projected_o[ids[at]]  # [B, H]
        h_n = states(share, c_before, c_n)
        return cells.new_empty(0, *h_n.shape, dtype=h_n.dtype), h_n, c_n.to(h_n.dtype)
    share = projected_o if ids is None else torch.nn.functional.embedding(ids, projected_o)
    hidden = states(share, torch.cat([c_0[None], cells[:-1]]), cells)
    return hidden, last_rows(hidden, last), c_n.to(hidden.dtype)
