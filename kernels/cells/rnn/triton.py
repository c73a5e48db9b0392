"""Elman's network on a GPU: the equations of a step, forward and backward, for the loops of kernels/triton/loops.py.

′ marks the previous step, ∂ the gradient of a value, δ the gradient before tanh or relu.
"""

import triton
import triton.language as tl
from torch import Tensor

from kernels.cells.rnn.reference import rnn_step
from kernels.operator import Named
from kernels.triton.cell import Equations, TritonCell
from kernels.triton.tiles import tanh


@triton.jit
def rnn_forward(x: tl.tuple, recurrent: tl.tuple, state: tl.tuple, vectors: tl.tuple, TANH: tl.constexpr) -> tl.tuple:
    """Return h = tanh(W x + b + W_hh h′), or relu for tanh."""
    total = x[0] + recurrent[0]
    return (tanh(total) if TANH else tl.where(total < 0.0, 0.0, total),)  # a NaN stays one


@triton.jit
def rnn_activate(x: tl.tuple, before: tl.tuple, after: tl.tuple, vectors: tl.tuple, TANH: tl.constexpr) -> tl.tuple:
    """Return h, which takes the place of the gate."""
    return x


@triton.jit
def zoneout_activate(x: tl.tuple, before: tl.tuple, after: tl.tuple, vectors: tl.tuple, TANH: tl.constexpr) -> tl.tuple:
    """Return the new h, before a part of h′ stays."""
    return (tanh(x[0]) if TANH else tl.where(x[0] < 0.0, 0.0, x[0]),)


@triton.jit
def rnn_differentiate(values: tl.tuple, grads: tl.tuple, vectors: tl.tuple, TANH: tl.constexpr) -> tl.tuple:
    """Return δ and 0, as h′ has no other gradient than δ W_hh.

    tanh: δ = ∂h ⊙ (1 − h²);  relu: δ = ∂h where h > 0.
    """
    h, grad_h = values[0], grads[0]
    grad = grad_h * (1.0 - h * h) if TANH else tl.where(h <= 0.0, 0.0, grad_h)
    return (grad,), (tl.zeros_like(grad_h),)


class TritonRNN(TritonCell):
    """Elman's network. Only the states are kept for the backward pass."""

    name = "triton_rnn"
    options = ("str nonlinearity",)
    low_states = (True,)
    step = staticmethod(rnn_step)
    equations = Equations(rnn_forward, rnn_activate, rnn_differentiate, gates=1, recurrent=(1,), grad_gates=1)

    def gates(self, tensors: Named, hidden: Tensor, h_before: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return h: its gradient is a function of it."""
        return hidden, None


class TritonZoneoutRNN(TritonRNN):
    """Elman's network with zoneout. The stored states are mixed, so the backward pass computes the new ones."""

    name = "triton_zoneout_rnn"
    has_zoneout = True
    equations = TritonRNN.equations._replace(activate=zoneout_activate)
    gates = TritonCell.gates


TRITON = TritonRNN()
ZONEOUT = TritonZoneoutRNN()
