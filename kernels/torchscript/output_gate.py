"""The part of the full-matrix peephole LSTM that is not serial: output gate and states, from all cells at once.

o = σ(W_ox x + W_oc c′ + b_o), h = tanh(c) ⊙ o. One GEMM a chunk of steps, forward; one for each gradient, backward. As
in the LSTM, h = o − 2 o ⊙ v with v = σ(−2c).

Legend: B batch, T time, I input, H hidden, V vocabulary, k steps of a chunk.
"""

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import linear

from kernels import reference
from kernels.memory import workspace
from kernels.operator import recurrent_operator, register_backward
from kernels.torchscript.chunks import Projection, add_recurrent, chunk_steps, chunks, collect_recurrent


@recurrent_operator("peephole::output_gate")
def output_operator(
    inputs: Tensor,
    embedding: Tensor | None,
    weight_ih: Tensor,
    weight_ch: Tensor,
    bias: Tensor | None,
    c_0: Tensor,
    cells: Tensor,
    word: str,
    keep: bool,
) -> tuple[Tensor, Tensor]:
    """Return all states [T, B, H], and for the backward pass the output gates.

    Args:
        inputs: vectors [T, B, I], or tokens [T, B] where an embedding is given.
        embedding: [V, I] or None.
        weight_ih: the output gate's input weight [H, I].
        weight_ch: its weight on the previous cell [H, H].
        bias: [H] or None.
        c_0: cells before the first step [B, H], of the accumulation dtype.
        cells: all cells [T, B, H].
        word: not used.
        keep: whether to keep the gates [T, B, H].
    """
    T, B, H = cells.shape
    projection, weight_t = Projection(inputs, embedding, weight_ih, bias), weight_ch.T.contiguous()
    hidden, gates = workspace(weight_ch, T, B, H), workspace(weight_ch, T if keep else 0, B, H)
    k, here = chunk_steps(T, B), keep and weight_ch.dtype == c_0.dtype  # here: in the kept gates themselves
    chunk, v = workspace(c_0, 0 if here else k, B, H), workspace(c_0, k, B, H)
    for t, end in chunks(T, B):
        o = gates[t:end] if here else chunk[: end - t]
        _write(o, t, projection, cells, c_0, weight_t)
        torch.addcmul(o, o, _v(cells[t:end], v), value=-2.0, out=v[: end - t])
        hidden[t:end] = v[: end - t]
        if keep and not here:
            gates[t:end] = o
    return hidden, gates


@output_operator.register_fake
def _(*arguments: Any) -> tuple[Tensor, Tensor]:
    weight_ch, cells, keep = arguments[3], arguments[6], arguments[8]
    T, B, H = cells.shape
    return weight_ch.new_empty(T, B, H), weight_ch.new_empty(T if keep else 0, B, H)


def output_backward(
    grads: list[Tensor | None], results: list[Tensor], tensors: list[Any], word: str, wanted: list[bool]
) -> list[Tensor | None]:
    """Return the gradients of `output_operator`'s tensors.

    δo = ∂h ⊙ (1 − 2v) ⊙ o(1 − o),  ∂c = 4 ∂h ⊙ o ⊙ v(1 − v),  ∂c′ = δo W_oc.
    """
    grad_hidden, _ = grads
    _, gates = results
    inputs, embedding, weight_ih, weight_ch, bias, c_0, cells = tensors
    T, B, H = cells.shape
    if grad_hidden is None:
        return [None] * len(tensors)
    projection, weight_t = Projection(inputs, embedding, weight_ih, bias), weight_ch.T
    projection.start_gradients(weight_ih, c_0.dtype, wanted[0])
    grad_weight_ch, grad_c_0 = torch.zeros_like(weight_ch, dtype=c_0.dtype), torch.zeros_like(c_0)
    grad_cells = workspace(c_0, T, B, H)
    chunk_o, chunk_grad, rows, v = (workspace(c_0, chunk_steps(T, B), B, H) for _ in range(4))
    same = weight_ch.dtype == c_0.dtype
    for t, end in chunks(T, B):
        n = end - t
        o, grad = chunk_o[:n], chunk_grad[:n].copy_(grad_hidden[t:end])
        if len(gates) == 0:
            _write(o, t, projection, cells, c_0, weight_t)
        else:
            o = gates[t:end] if same else o.copy_(gates[t:end])
        _v(cells[t:end], v)
        torch.addcmul(grad, grad, v[:n], value=-2.0, out=rows[:n])
        torch.ops.aten.sigmoid_backward(rows[:n], o, grad_input=rows[:n])
        torch.mul(grad, o, out=grad_cells[t:end])
        torch.ops.aten.sigmoid_backward(grad_cells[t:end], v[:n], grad_input=grad_cells[t:end]).mul_(4.0)
        low = rows[:n] if same else rows[:n].to(weight_ch.dtype)
        before = (low.flatten(0, 1) @ weight_ch).view(n, B, H)  # of the cells of steps t − 1 … end − 2
        if t == 0:
            grad_c_0 += before[0]
            before = before[1:]
        grad_cells[max(t - 1, 0) : end - 1] += before
        projection.collect(t, rows[:n], low)
        collect_recurrent(grad_weight_ch, t, low, cells, c_0)
    grad_inputs, grad_embedding, grad_weight_ih, grad_bias = projection.gradients()
    return [grad_inputs, grad_embedding, grad_weight_ih, grad_weight_ch, grad_bias, grad_c_0, grad_cells]


def eager_output(
    inputs: Tensor,
    embedding: Tensor | None,
    weight_ih: Tensor,
    weight_ch: Tensor,
    bias: Tensor | None,
    c_0: Tensor,
    cells: Tensor,
    word: str = "",
) -> tuple[Tensor]:
    """Return what `output_operator` does, in differentiable operations."""
    share = reference.project(inputs, embedding, weight_ih, bias)
    before = torch.cat([c_0[None], cells[:-1]])
    return (torch.tanh(cells) * torch.sigmoid(share + linear(before.to(weight_ch.dtype), weight_ch)),)


register_backward(output_operator, "peephole::output_gate_backward", output_backward, eager_output)


def _write(gates: Tensor, t: int, projection: Projection, cells: Tensor, c_0: Tensor, weight_t: Tensor) -> None:
    """Write the output gates [k, B, H] of steps t … t + k − 1."""
    projection.write(t, gates)
    add_recurrent(gates, t, cells, c_0, weight_t)
    gates.sigmoid_()


def _v(cells: Tensor, v: Tensor) -> Tensor:
    """Return σ(−2c) [k, B, H] in the memory of `v`."""
    return torch.add(cells, cells, alpha=-3.0, out=v[: len(cells)]).sigmoid_()
