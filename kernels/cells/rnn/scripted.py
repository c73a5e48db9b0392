"""Elman's network, tanh or relu, as scripted loops.

h = tanh(W x + b + W_hh h′). As tanh(x) = 2 σ(2x) − 1 and a logistic is several times cheaper than a tanh on a CPU, the
2 is multiplied into the weights of the forward pass, and the loop takes the logistic. Nothing but the states is kept
for the backward pass.

Legend: B batch, T time, H hidden, k steps of a chunk.
"""

import torch

from kernels.cells.rnn.reference import rnn_step
from kernels.operator import Named
from kernels.scripted.driver import ScriptedCell
from kernels.scripted.script import (
    BackwardChunk,
    ForwardChunk,
    add_product,
    entering,
    loop,
    low_gradient,
    stop_gradient,
    write_product,
)


@loop
def forward_loop(chunk: ForwardChunk) -> None:
    """Fill the states h; `gates` hold W x + b. The factor is 2 for tanh, 1 for relu.

    States after a row's last valid step are set to zero: relu's could overflow.
    """
    sums, hidden, weight_t, h = chunk.gates[0], chunk.states[0], chunk.weights[0], chunk.before[0]
    tanh, ended, product, minus_one = chunk.factor == 2.0, chunk.ended, chunk.scratch[0], sums.new_full((), -1.0)
    for t in range(hidden.shape[0]):
        total, h = sums[t], entering(h, chunk.resets, t)
        add_product(total, h, weight_t, product)
        h = hidden[t]
        if tanh:
            torch.add(minus_one, total.sigmoid_(), alpha=2.0, out=h)
        else:
            h.copy_(total.relu_())
        if ended is not None:
            h.masked_fill_(ended[t], 0.0)


@loop
def backward_loop(chunk: BackwardChunk) -> None:
    """Fill `grad_gates`, the gradient δ before each tanh or relu.

    tanh: δ = ∂h ⊙ (1 − h²);  relu: δ = ∂h where h > 0;  ∂h′ = δ W_hh.
    """
    hidden, weight, grad_h, grad_hidden = chunk.states[0], chunk.weights[0], chunk.grad_states[0], chunk.grads[0]
    grad_sums, low, product, tanh = chunk.grad_gates[0], chunk.grad_gates[1], chunk.scratch[0], chunk.factor == 2.0
    for t in range(hidden.shape[0] - 1, -1, -1):
        grad = grad_sums[t]
        if grad_hidden is not None:
            grad_h.add_(grad_hidden[t])
        if tanh:
            torch.ops.aten.tanh_backward(grad_h, hidden[t].to(grad.dtype), grad_input=grad)
        else:
            torch.mul(grad_h, hidden[t] > 0, out=grad)
        write_product(grad_h, low_gradient(grad, low, t), weight, product)
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


SCRIPTED = ScriptedRNN()
