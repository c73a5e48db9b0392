"""Elman's network, tanh or relu, as scripted loops.

h = tanh(W x + b + W_hh h′). As tanh(x) = 2 σ(2x) − 1 and a logistic is several times cheaper than a tanh on a CPU, the
2 is multiplied into the weights of the forward pass, and the loop takes the logistic. Nothing but the states is kept
for the backward pass.

Legend: B batch, T time, H hidden, k steps of a chunk.
"""

from types import MappingProxyType

import torch
from torch import Tensor

from kernels.cells.rnn.reference import rnn_step
from kernels.operator import Named
from kernels.scripted.chunks import scale_rows
from kernels.scripted.driver import Folded, Gradients, ScriptedCell
from kernels.scripted.script import add_product, loop


@loop
def forward_loop(
    gates: list[Tensor],
    states: list[Tensor],
    before: list[Tensor],
    weights: list[Tensor],
    factor: float,
    ended: Tensor | None,
    scratch: list[Tensor],
) -> None:
    """Fill the states h; `gates` holds W x + b. The factor is 2 for tanh, 1 for relu.

    States after a row's last valid step are set to zero: relu's could overflow.
    """
    sums, hidden, weight_t, h, product = gates[0], states[0], weights[0], before[0], scratch[0]
    tanh, minus_one = factor == 2.0, sums.new_full((), -1.0)
    for t in range(hidden.shape[0]):
        total = sums[t]
        add_product(total, h, weight_t, product)
        h = hidden[t]
        if tanh:
            torch.add(minus_one, total.sigmoid_(), alpha=2.0, out=h)
        else:
            h.copy_(total.relu_())
        if ended is not None:
            h.masked_fill_(ended[t], 0.0)


@loop
def backward_loop(
    grads: list[Tensor | None],
    states: list[Tensor],
    before: list[Tensor],
    gates: list[Tensor],
    weights: list[Tensor],
    factor: float,
    grad_gates: list[Tensor],
    grad_states: list[Tensor],
    scratch: list[Tensor],
) -> None:
    """Fill `grad_gates`, the gradient δ before each tanh or relu.

    tanh: δ = ∂h ⊙ (1 − h²);  relu: δ = ∂h where h > 0;  ∂h′ = δ W_hh.
    """
    hidden, weight, grad_h, grad_hidden, tanh = states[0], weights[0], grad_states[0], grads[0], factor == 2.0
    grad_sums, grad_sums_low, product = grad_gates[0], grad_gates[1], scratch[0]
    for t in range(hidden.shape[0] - 1, -1, -1):
        grad = grad_sums[t]
        if grad_hidden is not None:
            grad_h.add_(grad_hidden[t])
        if tanh:
            torch.ops.aten.tanh_backward(grad_h, hidden[t].to(grad.dtype), grad_input=grad)
        else:
            torch.mul(grad_h, hidden[t] > 0, out=grad)
        if weight.dtype == grad.dtype:
            torch.mm(grad, weight, out=grad_h)
        else:
            torch.mm(grad_sums_low[t].copy_(grad), weight, out=product)
            grad_h.copy_(product)


class ScriptedRNN(ScriptedCell):
    """Elman's network."""

    name = "rnn"
    options = MappingProxyType({"nonlinearity": "str"})
    low_states = (True,)
    gates = (1,)
    keeps_gates = False
    grad_gates = 1
    recurrent_blocks = (0, 1)
    step = staticmethod(rnn_step)
    forward_loop = staticmethod(forward_loop)
    backward_loop = staticmethod(backward_loop)

    def factor(self, options: Named) -> float:
        """Return 2 for tanh(x) = 2 σ(2x) − 1, 1 for relu."""
        return 2.0 if options["nonlinearity"] == "tanh" else 1.0

    def fold(self, tensors: Named, factor: float) -> Folded:
        """Multiply all weights by the factor."""
        H = len(tensors["weight_hh"])
        weight_ih, weight_hh, bias = (
            scale_rows(tensors[name], factor, 0, H) for name in ("weight_ih", "weight_hh", "bias")
        )
        return Folded(weight_ih, bias, weight_hh, [])

    def unfold(self, gradients: Gradients, factor: float) -> dict[str, Tensor]:
        """Return the gradients as they are: the backward loop fills those of the pre-activation itself."""
        return {"weight_ih": gradients.weight_ih, "weight_hh": gradients.weight_hh, "bias": gradients.bias}


SCRIPTED = ScriptedRNN()
