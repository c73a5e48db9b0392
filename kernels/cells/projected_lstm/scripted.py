"""The LSTM with a projected state as scripted loops.

m = tanh(c) ⊙ o [B, H] is what the LSTM calls its state, and h = W_hr m [B, P] is fed back. Gates, the logistic that
stands for tanh, and factors are those of `kernels/cells/lstm/scripted.py`: m = o − 2 o ⊙ v with v = σ(−2c).

Legend: B batch, T time, H hidden, P projection, k steps of a chunk.
"""

import torch
from torch import Tensor

from kernels.cells.lstm.scripted import ScriptedLSTMLike
from kernels.cells.projected_lstm.reference import projected_lstm_step
from kernels.operator import Named
from kernels.scripted.chunks import add_recurrent
from kernels.scripted.script import (
    BackwardChunk,
    Folded,
    ForwardChunk,
    add_product,
    entering,
    loop,
    stop_gradient,
    write_product,
)


@loop
def forward_loop(chunk: ForwardChunk) -> None:
    """Fill the states h and c; turn `gates` from W x + b into i, f, s, o. `weights` are W_hhᵀ and W_hr."""
    hidden, cells, h, c = chunk.states[0], chunk.states[1], chunk.before[0], chunk.before[1]
    gates, weight_t, product, v = chunk.gates[0], chunk.weights[0], chunk.scratch[0], chunk.scratch[1]
    projection_t = chunk.weights[1].to(weight_t.dtype).t()
    for t in range(hidden.shape[0]):
        gate, h, c = gates[t], entering(h, chunk.resets, t), entering(c, chunk.resets, t)
        add_product(gate, h, weight_t, product)
        gate.sigmoid_()
        i, f, s, o = gate.chunk(4, 1)
        c = torch.addcmul(i, f, c, out=cells[t]).addcmul_(i, s, value=-2.0)
        torch.add(c, c, alpha=-3.0, out=v).sigmoid_()  # of −2c
        torch.addcmul(o, o, v, value=-2.0, out=v)
        h = torch.mm(v.to(projection_t.dtype), projection_t, out=hidden[t])


@loop
def backward_loop(chunk: BackwardChunk) -> None:
    """Fill `grad_gates`: the gradient before each σ [k, B, 4H], then that of h [k, B, P].

    ∂m = ∂h W_hr; δi, δf, δs, δo and ∂c′ follow from it as the LSTM's do from its ∂h.
    """
    cells, weight, projection = chunk.states[1], chunk.weights[0], chunk.weights[1]
    grad_hidden, grad_cells, grad_h, grad_c = chunk.grads[0], chunk.grads[1], chunk.grad_states[0], chunk.grad_states[1]
    v, product, grad_m = chunk.scratch[1], chunk.scratch[2], chunk.scratch[3]
    gates, grad_gates, low, product_low = chunk.gates[0], chunk.grad_gates[0], chunk.grad_gates[1], chunk.scratch[0]
    H, P, first_c = cells.shape[2], grad_h.shape[1], chunk.before[1]
    for t in range(cells.shape[0] - 1, -1, -1):
        gate, grad = gates[t], grad_gates[t][:, : 4 * H]
        c_before = entering(cells[t - 1] if t > 0 else first_c, chunk.resets, t)
        i, f, s, o = gate.chunk(4, 1)
        grad_i, grad_f, grad_s, grad_o = grad.chunk(4, 1)
        if grad_hidden is not None:
            grad_h.add_(grad_hidden[t])
        if grad_cells is not None:
            grad_c.add_(grad_cells[t])
        grad_h_low = low[t][:, 4 * H : 4 * H + P].copy_(grad_h)
        write_product(grad_m, grad_h_low, projection, product_low)
        torch.add(cells[t], cells[t], alpha=-3.0, out=v).sigmoid_()  # of −2c
        torch.addcmul(grad_m, grad_m, v, value=-2.0, out=grad_o)
        torch.mul(grad_m, o, out=product)
        torch.ops.aten.sigmoid_backward(product, v, grad_input=product)
        grad_c.add_(product, alpha=4.0)
        torch.addcmul(grad_c, grad_c, s, value=-2.0, out=grad_i)
        torch.mul(grad_c, c_before, out=grad_f)
        torch.mul(grad_c, i, out=grad_s)
        grad_c.mul_(f)
        torch.ops.aten.sigmoid_backward(grad, gate, grad_input=grad)
        grad_low = grad if grad.dtype == low.dtype else low[t][:, : 4 * H].copy_(grad)
        write_product(grad_h, grad_low, weight, product_low[:, :P])
        stop_gradient(grad_h, chunk.resets, t)
        stop_gradient(grad_c, chunk.resets, t)


class ScriptedProjectedLSTM(ScriptedLSTMLike):
    """The LSTM with a projected state."""

    name = "projected_lstm"
    options = ()
    weights = ("weight_ih", "weight_hh", "bias?", "weight_hr")
    states = ("h_0", "c_0")
    low_states = (True, False)
    gates = (4,)
    grad_gates = 5  # the last H columns hold the gradient of h, which has P < H
    recurrent_blocks = (0, 4)
    forward_scratch = 1
    backward_scratch = 3
    step = staticmethod(projected_lstm_step)
    forward_loop = staticmethod(forward_loop)
    backward_loop = staticmethod(backward_loop)

    def fold(self, tensors: Named, factor: float) -> Folded:
        """Return the weights as the loops take them: W_hr in the dtype of the products, too."""
        folded = super().fold(tensors, factor)
        return folded._replace(extra=[weight.to(folded.weight_hh.dtype) for weight in folded.extra])

    def rebuild(self, chunk: ForwardChunk, t: int, states: list[Tensor], initial: list[Tensor]) -> None:
        """Compute i, f, s, o from the stored states."""
        add_recurrent(chunk.gates[0], t, states[0], initial[0], chunk.weights[0], chunk.reset_places)
        chunk.gates[0].sigmoid_()

    def extra_gradients(self, chunk: BackwardChunk) -> list[Tensor]:
        """Return Σ_t ∂h mᵀ, the gradient of W_hr [P, H]."""
        H, P = chunk.states[1].shape[2], chunk.grad_states[0].shape[1]
        grad_h, o = chunk.grad_gates[1][..., 4 * H : 4 * H + P], chunk.gates[0][..., 3 * H :]
        m = torch.addcmul(o, o, torch.sigmoid(-2.0 * chunk.states[1]), value=-2.0)
        return [grad_h.flatten(0, 1).T @ m.flatten(0, 1).to(grad_h.dtype)]


SCRIPTED = ScriptedProjectedLSTM()
