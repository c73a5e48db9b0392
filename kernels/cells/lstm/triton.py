"""The LSTM on a GPU, plain or with diagonal peepholes: the equations of a step, forward and backward.

The loops are in kernels/triton/loops.py. The tilde marks W x + b + W_hh h′, ′ the previous step, ∂ the gradient of a
value, δ the gradient of a gate before its function. p = 0 without peepholes. Cells are float32. The backward pass
computes the gates from the stored states and cells; with zoneout it computes the new cells from the gates, since the
stored ones are mixed.
"""

from collections.abc import Mapping
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from kernels.cells.lstm.reference import lstm_step
from kernels.operator import Grads, Named
from kernels.triton.bulk import states_before
from kernels.triton.cell import Equations, TritonCell
from kernels.triton.tiles import candidate, candidate_slope, tanh


@triton.jit
def lstm_forward(x: tl.tuple, recurrent: tl.tuple, state: tl.tuple, vectors: tl.tuple, TANH: tl.constexpr) -> tl.tuple:
    """Return h and c.

    i = σ(ĩ + p_i ⊙ c′),  f = σ(f̃ + p_f ⊙ c′),  g = tanh(g̃) or σ(g̃),  c = g ⊙ i + c′ ⊙ f,
    o = σ(õ + p_o ⊙ c),  h = tanh(c) ⊙ o.
    """
    c_before = state[1]
    i, f, g, o = recurrent[0] + x[0], recurrent[1] + x[1], recurrent[2] + x[2], recurrent[3] + x[3]
    if len(vectors) > 0:
        i += vectors[0] * c_before
        f += vectors[1] * c_before
    c = candidate(g, TANH) * tl.sigmoid(i) + c_before * tl.sigmoid(f)
    if len(vectors) > 0:
        o += vectors[2] * c
    return tanh(c) * tl.sigmoid(o), c


@triton.jit
def lstm_activate(x: tl.tuple, before: tl.tuple, after: tl.tuple, vectors: tl.tuple, TANH: tl.constexpr) -> tl.tuple:
    """Return i, f, g, o, tanh(c) and c′."""
    c_before, c = before[0], after[0]
    i, f, g, o = x
    if len(vectors) > 0:
        i += vectors[0] * c_before
        f += vectors[1] * c_before
        o += vectors[2] * c
    return tl.sigmoid(i), tl.sigmoid(f), candidate(g, TANH), tl.sigmoid(o), tanh(c), c_before


@triton.jit
def zoneout_activate(x: tl.tuple, before: tl.tuple, after: tl.tuple, vectors: tl.tuple, TANH: tl.constexpr) -> tl.tuple:
    """Return i, f, g, o, tanh(c) of the new cell, before a part of c′ stays, and c′."""
    i, f, g, o, c_before = tl.sigmoid(x[0]), tl.sigmoid(x[1]), candidate(x[2], TANH), tl.sigmoid(x[3]), before[0]
    return i, f, g, o, tanh(g * i + c_before * f), c_before


@triton.jit
def lstm_differentiate(values: tl.tuple, grads: tl.tuple, vectors: tl.tuple, TANH: tl.constexpr) -> tl.tuple:
    """Return δi, δf, δg and δo, and the gradients of h′ and c′; that of h′ is 0 here, since δ W_hh is all of it.

    δo = ∂h ⊙ tanh(c) ⊙ o(1 − o),  ∂c += ∂h ⊙ o ⊙ (1 − tanh²c) + δo ⊙ p_o,
    δi = ∂c ⊙ g ⊙ i(1 − i),  δf = ∂c ⊙ c′ ⊙ f(1 − f),  δg = ∂c ⊙ i ⊙ (1 − g²), or g(1 − g) for σ,
    ∂c′ = ∂c ⊙ f + δi ⊙ p_i + δf ⊙ p_f.
    """
    i, f, g, o, tanh_c, c_before = values
    grad_h, grad_c = grads
    grad_o = grad_h * tanh_c * o * (1.0 - o)
    grad_c = grad_c + grad_h * o * (1.0 - tanh_c * tanh_c)
    if len(vectors) > 0:
        grad_c += grad_o * vectors[2]
    grad_i = grad_c * g * i * (1.0 - i)
    grad_f = grad_c * c_before * f * (1.0 - f)
    grad_g = grad_c * i * candidate_slope(g, TANH)
    grad_c_before = grad_c * f
    if len(vectors) > 0:
        grad_c_before += grad_i * vectors[0] + grad_f * vectors[1]
    return (grad_i, grad_f, grad_g, grad_o), (tl.zeros_like(grad_h), grad_c_before)


class TritonLSTM(TritonCell):
    """The LSTM; with a `weight_peephole` its diagonal peephole form."""

    name = "triton_lstm"
    weights = ("weight_ih", "weight_hh", "bias?", "weight_peephole?")
    options = ("str candidate",)
    states = ("h_0", "c_0")
    low_states = (True, False)
    step = staticmethod(lstm_step)
    equations = Equations(lstm_forward, lstm_activate, lstm_differentiate, gates=4, recurrent=(4,), grad_gates=4)

    def vectors(self, tensors: Named) -> tuple[Tensor, ...]:
        """Return p_i, p_f and p_o, if there are peepholes."""
        peephole: Tensor | None = tensors["weight_peephole"]
        return () if peephole is None else tuple(peephole)

    def backward(
        self, grads: Grads, results: list[Tensor], tensors: Named, options: Named, wanted: Mapping[str, bool]
    ) -> dict[str, Any]:
        """Return the gradients of the tensors by name."""
        gradients = super().backward(grads, results, tensors, options, wanted)
        if wanted["weight_peephole"]:
            gradients["weight_peephole"] = _grad_peephole(gradients["gates"], results[-1], tensors)
        return gradients


class TritonZoneoutLSTM(TritonLSTM):
    """The LSTM with zoneout of h and c, without peepholes."""

    name = "triton_zoneout_lstm"
    has_zoneout = True
    equations = TritonLSTM.equations._replace(activate=zoneout_activate)


TRITON = TritonLSTM()
ZONEOUT = TritonZoneoutLSTM()


def _grad_peephole(grad_gates: Tensor, cells: Tensor, tensors: Named) -> Tensor:
    """Return Σ_t [δi ⊙ c′, δf ⊙ c′, δo ⊙ c], the gradient of the peepholes [3, H]."""
    grad_i, grad_f, _, grad_o = grad_gates.chunk(4, dim=2)
    before = states_before(cells, tensors["c_0"], cells.dtype, tensors["resets"])
    pairs = ((grad_i, before), (grad_f, before), (grad_o, cells))
    return torch.stack([(grad * c).sum((0, 1)) for grad, c in pairs])
