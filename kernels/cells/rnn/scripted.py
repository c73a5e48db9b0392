"""Elman's network, tanh or relu, as scripted loops.

h = tanh(W x + b + W_hh h′). As tanh(x) = 2 σ(2x) − 1 and a logistic is several times cheaper than a tanh on a CPU, the
2 is multiplied into the weights of the forward pass, and the loop takes the logistic. Nothing but the states is kept
for the backward pass.

Legend: B batch, T time, H hidden, k steps of a chunk.
"""

import torch
from torch import Tensor

from kernels.cells.rnn.reference import rnn_step
from kernels.operator import Named
from kernels.scripted.cell import ScriptedCell
from kernels.scripted.chunks import add_recurrent
from kernels.scripted.script import (
    BackwardChunk,
    ForwardChunk,
    add_product,
    entering,
    let_stay,
    loop,
    low_gradient,
    split_gradient,
    stop_gradient,
    write_product,
)


@loop
def forward_loop(chunk: ForwardChunk) -> None:
    """Fill the states h; turn `gates` from W x + b into σ(2 ·), of which h is made, or for relu into its value.

    The factor is 2 for tanh, 1 for relu.

    States after a row's last valid step are set to zero: relu's could overflow.
    """
    sums, hidden, weight_t, h = chunk.gates[0], chunk.states[0], chunk.weights[0], chunk.before[0]
    tanh, ended, product, minus_one = chunk.factor == 2.0, chunk.ended, chunk.scratch[0], sums.new_full((), -1.0)
    for t in range(hidden.shape[0]):
        total, h = sums[t], entering(h, chunk.resets, t)
        add_product(total, h, weight_t, product)
        h_new = hidden[t]
        if tanh:
            torch.add(minus_one, total.sigmoid_(), alpha=2.0, out=h_new)
        else:
            h_new.copy_(total.relu_())
        let_stay(h_new, h, chunk.zoneout, 0, t)
        h = h_new
        if ended is not None:
            h.masked_fill_(ended[t], 0.0)


@loop
def backward_loop(chunk: BackwardChunk) -> None:
    """Fill `grad_gates`, the gradient δ before each tanh or relu.

    tanh: δ = ∂h ⊙ (1 − h²);  relu: δ = ∂h where h > 0;  ∂h′ = δ W_hh. With zoneout `gates` has this h, before a
    part of h′ stays, or s = σ(2 ·); then δ = ∂h ⊙ s(1 − s), and the factor of 4 that it lacks is in the weight here.
    """
    hidden, weight, grad_h, grad_hidden = chunk.states[0], chunk.weights[0], chunk.grad_states[0], chunk.grads[0]
    grad_sums, low, product, tanh = chunk.grad_gates[0], chunk.grad_gates[1], chunk.scratch[0], chunk.factor == 2.0
    zoneout = len(chunk.zoneout) > 0
    for t in range(hidden.shape[0] - 1, -1, -1):
        grad = grad_sums[t]
        if grad_hidden is not None:
            grad_h.add_(grad_hidden[t])
        h = hidden[t]
        if zoneout:
            h = chunk.gates[0][t]
            split_gradient(grad_h, chunk.zoneout, 0, t, chunk.scratch[1])
        if tanh and zoneout:
            torch.ops.aten.sigmoid_backward(grad_h, h, grad_input=grad)
        elif tanh:
            torch.ops.aten.tanh_backward(grad_h, h.to(grad.dtype), grad_input=grad)
        else:
            torch.mul(grad_h, h > 0, out=grad)
        write_product(grad_h, low_gradient(grad, low, t), weight, product)
        if zoneout:
            grad_h.add_(chunk.scratch[1])
        stop_gradient(grad_h, chunk.resets, t)


class ScriptedRNN(ScriptedCell):
    """Elman's network."""

    name = "rnn"
    options = ("str nonlinearity",)
    low_states = (True,)
    keeps_gates = False
    has_resets = True
    step = staticmethod(rnn_step)
    forward_loop = staticmethod(forward_loop)
    backward_loop = staticmethod(backward_loop)

    def factor(self, options: Named) -> float:
        """Return 2 for tanh(x) = 2 σ(2x) − 1, 1 for relu."""
        return 2.0 if options["nonlinearity"] == "tanh" else 1.0


class ZoneoutRNN(ScriptedRNN):
    """Elman's network with zoneout. The stored states are mixed, so the gates are kept for the backward pass, too."""

    name = "zoneout_rnn"
    has_zoneout = True
    keeps_gates = True
    backward_scratch = 1

    def gradient_factor(self, options: Named) -> float:
        """Return 4 for tanh: that of h = 2s − 1 times that of s = σ(2 ·); the backward loop fills δ without it."""
        return self.factor(options) ** 2

    def rebuild(self, chunk: ForwardChunk, t: int, states: list[Tensor], initial: list[Tensor]) -> None:
        """Compute the new states from the stored ones."""
        (sums,), weight_t = chunk.gates, chunk.weights[0]
        add_recurrent(sums, t, states[0], initial[0], weight_t, chunk.reset_places)
        if chunk.factor == 2.0:
            sums.sigmoid_()
        else:
            sums.relu_()


SCRIPTED = ScriptedRNN()
ZONEOUT = ZoneoutRNN()
