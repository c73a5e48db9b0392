"""The LSTM, plain or with diagonal peepholes, as scripted loops.

i = σ(ĩ + p_i ⊙ c′), f = σ(f̃ + p_f ⊙ c′), c = g ⊙ i + c′ ⊙ f, o = σ(õ + p_o ⊙ c), h = tanh(c) ⊙ o, where the tilde marks
W x + b + W_hh h′ and p = 0 without peepholes.

A logistic is several times cheaper than a tanh on a CPU, and tanh(x) = 1 − 2 σ(−2x). So every gate, the candidate
included, is one σ over [B, 4H]: s = σ(factor · g̃), where the factor has been multiplied into the candidate's weights;
for a tanh it is −2 and g = 1 − 2s, for a logistic 1 and g = s. The gates are i, f, s, o. Likewise h = o − 2 o ⊙ v with
v = σ(−2c).

Legend: B batch, T time, H hidden, k steps of a chunk.
"""

from typing import ClassVar

import torch
from torch import Tensor

from kernels.cells.lstm.reference import lstm_step
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


def write_cell(c: Tensor, i: Tensor, f: Tensor, s: Tensor, c_before: Tensor, logistic: bool) -> Tensor:
    """Write g ⊙ i + c′ ⊙ f into c [B, H] and return it."""
    if logistic:
        return torch.mul(f, c_before, out=c).addcmul_(i, s)
    return torch.addcmul(i, f, c_before, out=c).addcmul_(i, s, value=-2.0)


@loop
def forward_loop(chunk: ForwardChunk) -> None:
    """Fill the states h and c; turn `gates` from W x + b into i, f, s, o. `weights` may hold the peepholes [3, H]."""
    hidden, cells, h, c = chunk.states[0], chunk.states[1], chunk.before[0], chunk.before[1]
    gates, weight_t, product, v = chunk.gates[0], chunk.weights[0], chunk.scratch[0], chunk.scratch[1]
    logistic = chunk.factor == 1.0
    H, has_peephole, peephole = hidden.shape[2], len(chunk.weights) > 1, chunk.weights[len(chunk.weights) - 1]
    for t in range(hidden.shape[0]):
        gate, h, c = gates[t], entering(h, chunk.resets, t), entering(c, chunk.resets, t)
        add_product(gate, h, weight_t, product)
        i, f, s, o = gate[:, :H], gate[:, H : 2 * H], gate[:, 2 * H : 3 * H], gate[:, 3 * H :]
        if has_peephole:
            i.addcmul_(c, peephole[0])
            f.addcmul_(c, peephole[1])
            gate[:, : 3 * H].sigmoid_()
        else:
            gate.sigmoid_()
        c_new = write_cell(cells[t], i, f, s, c, logistic)
        if has_peephole:
            o.addcmul_(c_new, peephole[2]).sigmoid_()
        torch.add(c_new, c_new, alpha=-3.0, out=v).sigmoid_()  # of −2c
        h_new = hidden[t]
        if h_new.dtype == o.dtype:
            torch.addcmul(o, o, v, value=-2.0, out=h_new)
        else:
            h_new.copy_(torch.addcmul(o, o, v, value=-2.0, out=v))
        let_stay(h_new, h, chunk.zoneout, 0, t)
        let_stay(c_new, c, chunk.zoneout, 1, t)
        h, c = h_new, c_new


@loop
def backward_loop(chunk: BackwardChunk) -> None:
    """Fill `grad_gates`, the gradient before each σ.

    With δ the gradient before a σ and ∂ that of a value:
    δo = ∂h ⊙ (1 − 2v) ⊙ o(1 − o),  ∂c += 4 ∂h ⊙ o ⊙ v(1 − v) + δo ⊙ p_o,
    δi = ∂c ⊙ g ⊙ i(1 − i),  δf = ∂c ⊙ c′ ⊙ f(1 − f),  δs = ∂c ⊙ i ⊙ s(1 − s) without the factor,
    ∂c′ = ∂c ⊙ f + δi ⊙ p_i + δf ⊙ p_f,  ∂h′ = δ W_hh. The factors that δs lacks are in the candidate's weights here:
    see `gradient_factor`.
    """
    cells, weight, grad_hidden, grad_cells = chunk.states[1], chunk.weights[0], chunk.grads[0], chunk.grads[1]
    grad_h, grad_c, v, product = chunk.grad_states[0], chunk.grad_states[1], chunk.scratch[1], chunk.scratch[2]
    gates, grad_gates, low, product_low = chunk.gates[0], chunk.grad_gates[0], chunk.grad_gates[1], chunk.scratch[0]
    logistic, first_c, zoneout = chunk.factor == 1.0, chunk.before[1], len(chunk.zoneout) > 0
    H, has_peephole, peephole = cells.shape[2], len(chunk.weights) > 1, chunk.weights[len(chunk.weights) - 1]
    for t in range(cells.shape[0] - 1, -1, -1):
        gate, grad = gates[t], grad_gates[t]
        c_before = cells[t - 1] if t > 0 else first_c
        i, f, s, o = gate[:, :H], gate[:, H : 2 * H], gate[:, 2 * H : 3 * H], gate[:, 3 * H :]
        grad_i, grad_f = grad[:, :H], grad[:, H : 2 * H]
        grad_s, grad_o = grad[:, 2 * H : 3 * H], grad[:, 3 * H :]
        if grad_hidden is not None:
            grad_h.add_(grad_hidden[t])
        if grad_cells is not None:
            grad_c.add_(grad_cells[t])
        c = cells[t]
        if zoneout:
            c = write_cell(v, i, f, s, entering(c_before, chunk.resets, t), logistic)  # before a part of c′ stayed
            split_gradient(grad_h, chunk.zoneout, 0, t, chunk.scratch[3])
            split_gradient(grad_c, chunk.zoneout, 1, t, chunk.scratch[4])
        torch.add(c, c, alpha=-3.0, out=v).sigmoid_()  # of −2c
        torch.addcmul(grad_h, grad_h, v, value=-2.0, out=grad_o)
        torch.mul(grad_h, o, out=product)
        torch.ops.aten.sigmoid_backward(product, v, grad_input=product)
        grad_c.add_(product, alpha=4.0)
        if has_peephole:
            torch.ops.aten.sigmoid_backward(grad_o, o, grad_input=grad_o)
            grad_c.addcmul_(grad_o, peephole[2])
        if logistic:
            torch.mul(grad_c, s, out=grad_i)
        else:
            torch.addcmul(grad_c, grad_c, s, value=-2.0, out=grad_i)
        torch.mul(grad_c, c_before, out=grad_f)
        stop_gradient(grad_f, chunk.resets, t)
        torch.mul(grad_c, i, out=grad_s)
        grad_c.mul_(f)
        if has_peephole:
            first = grad[:, : 3 * H]
            torch.ops.aten.sigmoid_backward(first, gate[:, : 3 * H], grad_input=first)
            grad_c.addcmul_(grad_i, peephole[0]).addcmul_(grad_f, peephole[1])
        else:
            torch.ops.aten.sigmoid_backward(grad, gate, grad_input=grad)
        write_product(grad_h, low_gradient(grad, low, t), weight, product_low)
        if zoneout:
            grad_h.add_(chunk.scratch[3])
            grad_c.add_(chunk.scratch[4])
        stop_gradient(grad_h, chunk.resets, t)
        stop_gradient(grad_c, chunk.resets, t)


class ScriptedLSTMLike(ScriptedCell):
    """A cell like the LSTM: its third gate is the candidate, with tanh, or σ if its option says so."""

    options: ClassVar[tuple[str, ...]] = ("str candidate",)
    candidate = 2
    has_resets = True

    def factor(self, options: Named) -> float:
        """Return −2 for tanh(x) = 1 − 2 σ(−2x), 1 for a logistic."""
        return 1.0 if options.get("candidate") == "sigmoid" else -2.0

    def gradient_factor(self, options: Named) -> float:
        """Return factor²: the gradient of s = σ(factor · g̃) by g̃ has one, that of g by s the other; δs has neither."""
        return self.factor(options) ** 2


class ScriptedLSTM(ScriptedLSTMLike):
    """The LSTM; with a `weight_peephole` its diagonal peephole form."""

    name = "lstm"
    weights = ("weight_ih", "weight_hh", "bias?", "weight_peephole?")
    states = ("h_0", "c_0")
    low_states = (True, False)
    gates = (4,)
    grad_gates = 4
    forward_scratch = 1
    backward_scratch = 2
    step = staticmethod(lstm_step)
    forward_loop = staticmethod(forward_loop)
    backward_loop = staticmethod(backward_loop)

    def rebuild(self, chunk: ForwardChunk, t: int, states: list[Tensor], initial: list[Tensor]) -> None:
        """Compute i, f, s, o from the stored states."""
        gate, H = chunk.gates[0], states[0].shape[2]
        add_recurrent(gate, t, states[0], initial[0], chunk.weights[0], chunk.reset_places)
        for peephole in chunk.weights[1:]:
            before = cells_before(chunk)
            gate[..., :H].addcmul_(before, peephole[0])
            gate[..., H : 2 * H].addcmul_(before, peephole[1])
            gate[..., 3 * H :].addcmul_(chunk.states[1], peephole[2])
        gate.sigmoid_()

    def extra_gradients(self, chunk: BackwardChunk) -> list[Tensor]:
        """Return Σ_t [δi ⊙ c′, δf ⊙ c′, δo ⊙ c], the gradient of the peepholes [3, H]."""
        grad_i, grad_f, _, grad_o = chunk.grad_gates[0].chunk(4, dim=2)
        before = cells_before(chunk)
        pairs = ((grad_i, before), (grad_f, before), (grad_o, chunk.states[1]))
        return [torch.stack([(grad * c).sum((0, 1)) for grad, c in pairs])]


def cells_before(chunk: ForwardChunk | BackwardChunk) -> Tensor:
    """Return the cells c′ that enter each step of a chunk [k, B, H]."""
    before = torch.cat([chunk.before[1][None], chunk.states[1][:-1]])
    if chunk.reset_places is not None:
        before.flatten(0, 1).index_fill_(0, chunk.reset_places, 0.0)
    return before


class ZoneoutLSTM(ScriptedLSTM):
    """The LSTM with zoneout of h and c, without peepholes."""

    name = "zoneout_lstm"
    has_zoneout = True
    backward_scratch = 4


SCRIPTED = ScriptedLSTM()
ZONEOUT = ZoneoutLSTM()
