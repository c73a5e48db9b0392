"""The part of the full-matrix peephole LSTM that is not serial: output gate and states, from all cells at once.

o = σ(W_ox x + W_oc c′ + b_o), h = tanh(c) ⊙ o. One GEMM a chunk of steps, forward; one for each gradient, backward. As
in the LSTM, h = o − 2 o ⊙ v with v = σ(−2c).

Legend: B batch, T time, I input, H hidden, V vocabulary, k steps of a chunk.
"""

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn.functional import linear

from kernels.operator import Grads, Named, Results, recurrent_operator
from kernels.reference import project
from kernels.scripted.chunks import Resets, add_recurrent, chunk_steps, chunks, collect_recurrent
from kernels.scripted.memory import workspace
from kernels.scripted.projection import Projection, ProjectionGradients

PROJECTION = ("inputs", "embedding", "weight_ih", "bias")


def output_forward(tensors: Named, options: Named) -> Results:
    """Return all states [T, B, H], and for the backward pass the output gates.

    The tensors: inputs [T, B, I], or tokens [T, B] with an embedding [V, I]; the output gate's weight_ih [H, I],
    weight_ch [H, H] and bias [H]; the cells before the first step c_0 [B, H], and all cells [T, B, H]; the steps that a
    row enters with a cell of zero, resets [T, B] or None. The option `keep` says whether to keep the gates [T, B, H].
    """
    weight_ch, cells, c_0, keep = *(tensors[name] for name in ("weight_ch", "cells", "c_0")), options["keep"]
    T, B, H = cells.shape
    projection, weight_t = Projection(*(tensors[name] for name in PROJECTION)), weight_ch.T.contiguous()
    hidden, gates = workspace(weight_ch, T, B, H), workspace(weight_ch, T if keep else 0, B, H)
    k, in_place = chunk_steps(T, B), keep and weight_ch.dtype == c_0.dtype  # works on the kept gates themselves
    chunk, v = workspace(c_0, 0 if in_place else k, B, H), workspace(c_0, k, B, H)
    resets = Resets(tensors["resets"])
    for t, end in chunks(T, B):
        o = gates[t:end] if in_place else chunk[: end - t]
        _write(o, t, projection, cells, c_0, weight_t, resets.chunk(t, end)[1])
        torch.addcmul(o, o, _v(cells[t:end], v), value=-2.0, out=v[: end - t])
        hidden[t:end] = v[: end - t]
        if keep and not in_place:
            gates[t:end] = o
    return hidden, gates


def output_fake(tensors: Named, options: Named) -> Results:
    """Return empty results."""
    weight_ch, (T, B, H) = tensors["weight_ch"], tensors["cells"].shape
    return weight_ch.new_empty(T, B, H), weight_ch.new_empty(T if options["keep"] else 0, B, H)


def output_backward(
    grads: Grads, results: list[Tensor], tensors: Named, options: Named, wanted: Mapping[str, bool]
) -> dict[str, Tensor | None]:
    """Return the gradients of the tensors of `output_forward`.

    δo = ∂h ⊙ (1 − 2v) ⊙ o(1 − o),  ∂c = 4 ∂h ⊙ o ⊙ v(1 − v),  ∂c′ = δo W_oc.
    """
    (grad_hidden, _), (_, gates) = grads, results
    if grad_hidden is None:
        return {}
    weight_ch, cells, c_0 = (tensors[name] for name in ("weight_ch", "cells", "c_0"))
    T, B, H = cells.shape
    projection = None if len(gates) else Projection(*(tensors[name] for name in PROJECTION))
    gradients = ProjectionGradients(
        tensors["inputs"], tensors["embedding"], tensors["weight_ih"], tensors["bias"] is not None, c_0.dtype,
        wanted["inputs"],
    )  # fmt: skip
    grad_weight_ch, grad_c_0 = torch.zeros_like(weight_ch, dtype=c_0.dtype), torch.zeros_like(c_0)
    grad_cells = workspace(c_0, T, B, H)
    chunk_o, chunk_grad, grad_o, v = (workspace(c_0, chunk_steps(T, B), B, H) for _ in range(4))
    same, resets = weight_ch.dtype == c_0.dtype, Resets(tensors["resets"])
    for t, end in chunks(T, B):
        n, (_, places) = end - t, resets.chunk(t, end)
        o, grad = chunk_o[:n], chunk_grad[:n].copy_(grad_hidden[t:end])
        if projection is not None:
            _write(o, t, projection, cells, c_0, weight_ch.T, places)
        else:
            o = gates[t:end] if same else o.copy_(gates[t:end])
        _v(cells[t:end], v)
        torch.addcmul(grad, grad, v[:n], value=-2.0, out=grad_o[:n])
        torch.ops.aten.sigmoid_backward(grad_o[:n], o, grad_input=grad_o[:n])
        torch.mul(grad, o, out=grad_cells[t:end])
        torch.ops.aten.sigmoid_backward(grad_cells[t:end], v[:n], grad_input=grad_cells[t:end]).mul_(4.0)
        low = grad_o[:n] if same else grad_o[:n].to(weight_ch.dtype)
        gradients.collect(t, grad_o[:n], low)
        if places is not None:  # the product with W_oc is of a zero there
            low.flatten(0, 1).index_fill_(0, places, 0.0)
        collect_recurrent(grad_weight_ch, t, low, cells, c_0)
        before = (low.flatten(0, 1) @ weight_ch).view(n, B, H)  # of the cells of steps t − 1 … end − 2
        if t == 0:
            grad_c_0 += before[0]
            before = before[1:]
        grad_cells[max(t - 1, 0) : end - 1] += before
    return {
        **dict(zip(PROJECTION, gradients.results(), strict=True)),
        "weight_ch": grad_weight_ch,
        "c_0": grad_c_0,
        "cells": grad_cells,
    }


def output_state(projected: Tensor, before: Tensor, cells: Tensor, weight_ch: Tensor) -> Tensor:
    """Return h [T, B, H] from W_ox x + b_o, the cells before each step, and the cells, in differentiable operations."""
    return torch.tanh(cells) * torch.sigmoid(projected + linear(before.to(weight_ch.dtype), weight_ch))


def output_reference(tensors: Named, options: Named) -> Results:
    """Return all states."""
    projected = project(*(tensors[name] for name in PROJECTION))
    before = torch.cat([tensors["c_0"][None], tensors["cells"][:-1]])
    if tensors["resets"] is not None:
        before = before.masked_fill(tensors["resets"][..., None], 0)
    return (output_state(projected, before, tensors["cells"], tensors["weight_ch"]),)


output_operator = recurrent_operator(
    "peephole::output_gate",
    "(Tensor inputs, Tensor? embedding, Tensor weight_ih, Tensor weight_ch, Tensor? bias, Tensor c_0, Tensor cells,"
    " Tensor? resets, bool keep) -> (Tensor, Tensor)",
    forward=output_forward,
    fake=output_fake,
    backward=output_backward,
    reference=output_reference,
)


def _write(
    gates: Tensor, t: int, projection: Projection, cells: Tensor, c_0: Tensor, weight_t: Tensor, places: Tensor | None
) -> None:
    """Write the output gates [k, B, H] of steps t … t + k − 1."""
    projection.write(t, gates)
    add_recurrent(gates, t, cells, c_0, weight_t, places)
    gates.sigmoid_()


def _v(cells: Tensor, v: Tensor) -> Tensor:
    """Return σ(−2c) [k, B, H] in the memory of `v`."""
    return torch.add(cells, cells, alpha=-3.0, out=v[: len(cells)]).sigmoid_()
