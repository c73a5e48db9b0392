"""The full-matrix peephole LSTM of the study as scripted loops: only the cells are serial.

i = σ(W_ix x + W_ic c′ + b_i), f = σ(W_fx x + W_fc c′ + b_f), c = z ⊙ i + c′ ⊙ f, z = σ(W_cx x + b_c) or tanh.

No gate sees h′, so the loop needs i, f and c only, a 2H × H part of the 3H × H recurrent weight. The operator returns
the cells. The output gate and the states follow from them in `output_gate.py`, and for a classifier, which reads the
last state, for one step only. As in the LSTM, s = σ(factor · z̃): a logistic candidate has the factor 1 and z = s, a
tanh has the factor −2 and z = 1 − 2s. So the three gates i, f, s of a step are one σ over [B, 3H].

Legend: B batch, T time, H hidden, k steps of a chunk.
"""

import torch
from torch import Tensor

from kernels.cell import Given, Results
from kernels.cells.lstm.scripted import ScriptedLSTMLike
from kernels.cells.peephole_lstm.output_gate import output_operator, output_state
from kernels.dtypes import lower, scripted_dtype, without_autocast
from kernels.layout import last_rows
from kernels.operator import Named
from kernels.reference import State, project
from kernels.scripted.chunks import add_recurrent
from kernels.scripted.script import (
    BackwardChunk,
    Folded,
    ForwardChunk,
    add_product,
    entering,
    loop,
    low_gradient,
    stop_gradient,
)


@loop
def forward_loop(chunk: ForwardChunk) -> None:
    """Fill the cells c; turn `gates` from W x + b into i, f, s."""
    gates, cells, weight_t, c = chunk.gates[0], chunk.states[0], chunk.weights[0], chunk.before[0]
    H, product, logistic = cells.shape[2], chunk.scratch[0], chunk.factor == 1.0
    for t in range(cells.shape[0]):
        gate, c = gates[t], entering(c, chunk.resets, t)
        add_product(gate[:, : 2 * H], c.to(weight_t.dtype), weight_t, product)
        gate.sigmoid_()
        i, f, s = gate[:, :H], gate[:, H : 2 * H], gate[:, 2 * H :]
        c_new = cells[t]
        if logistic:
            torch.mul(f, c, out=c_new).addcmul_(i, s)
        else:
            torch.addcmul(i, f, c, out=c_new).addcmul_(i, s, value=-2.0)
        c = c_new


@loop
def backward_loop(chunk: BackwardChunk) -> None:
    """Fill `grad_gates`, the gradient before each σ.

    δi = ∂c ⊙ z ⊙ i(1 − i),  δf = ∂c ⊙ c′ ⊙ f(1 − f),  δs = ∂c ⊙ i ⊙ s(1 − s) without the factor,
    ∂c′ = ∂c ⊙ f + [δi, δf] W.
    """
    cells, weight, grad_c, grad_cells = chunk.states[0], chunk.weights[0], chunk.grad_states[0], chunk.grads[0]
    gates, grad_gates, low, product = chunk.gates[0], chunk.grad_gates[0], chunk.grad_gates[1], chunk.scratch[0]
    H, first_c, logistic = cells.shape[2], chunk.before[0], chunk.factor == 1.0
    for t in range(cells.shape[0] - 1, -1, -1):
        gate, grad = gates[t], grad_gates[t]
        c_before = entering(cells[t - 1] if t > 0 else first_c, chunk.resets, t)
        i, f, s = gate[:, :H], gate[:, H : 2 * H], gate[:, 2 * H :]
        grad_i, grad_f, grad_s = grad[:, :H], grad[:, H : 2 * H], grad[:, 2 * H :]
        if grad_cells is not None:
            grad_c.add_(grad_cells[t])
        if logistic:
            torch.mul(grad_c, s, out=grad_i)
        else:
            torch.addcmul(grad_c, grad_c, s, value=-2.0, out=grad_i)
        torch.mul(grad_c, c_before, out=grad_f)
        torch.mul(grad_c, i, out=grad_s)
        torch.ops.aten.sigmoid_backward(grad, gate, grad_input=grad)
        grad_c.mul_(f)
        add_product(grad_c, low_gradient(grad, low, t)[:, : 2 * H], weight, product)
        stop_gradient(grad_c, chunk.resets, t)


@loop
def step_loop(chunk: ForwardChunk) -> None:
    """Fill the states h and the cells c; turn `gates` from W x + b into i, f, s, o. The weight has gates i, f, o."""
    hidden, cells, weight_t, c = chunk.states[0], chunk.states[1], chunk.weights[0], chunk.before[1]
    H = cells.shape[2]
    for t in range(cells.shape[0]):
        gate, product = chunk.gates[0][t], torch.mm(c.to(weight_t.dtype), weight_t, out=chunk.scratch[0])
        gate[:, : 2 * H].add_(product[:, : 2 * H])
        gate[:, 3 * H :].add_(product[:, 2 * H :])
        gate.sigmoid_()
        i, f, s, o = gate[:, :H], gate[:, H : 2 * H], gate[:, 2 * H : 3 * H], gate[:, 3 * H :]
        c_new = torch.mul(f, c, out=cells[t])
        if chunk.factor == 1.0:
            c_new.addcmul_(i, s)
        else:
            c_new.add_(i).addcmul_(i, s, value=-2.0)
        hidden[t] = torch.addcmul(o, o, torch.add(c_new, c_new, alpha=-3.0).sigmoid_(), value=-2.0)
        c = c_new


def cells_step(projected: Tensor, state: State, weight_hh: Tensor, candidate: str) -> State:
    """Return the next cell and the present one; arguments as in `reference.peephole_step`, but only of i, f and z."""
    c = state[0]
    i_f, z = projected.split([len(weight_hh), weight_hh.shape[1]], dim=1)
    i, f = torch.sigmoid(i_f + c @ weight_hh.T).chunk(2, dim=1)
    return getattr(torch, candidate)(z) * i + c * f, c


class ScriptedCells(ScriptedLSTMLike):
    """The cells of the full peephole: input weights of i, f and z, recurrent weights of i and f on the cell."""

    name = "peephole_cells"
    states = ("c_0",)
    gates = (3,)
    grad_gates = 3
    recurrent_blocks = (0, 2)
    returns_before_last = True
    step = staticmethod(cells_step)
    forward_loop = staticmethod(forward_loop)
    backward_loop = staticmethod(backward_loop)

    def rebuild(self, chunk: ForwardChunk, t: int, states: list[Tensor], initial: list[Tensor]) -> None:
        """Compute i, f, s from the stored cells."""
        gate = chunk.gates[0]
        i_f = gate[..., : 2 * states[0].shape[2]]
        add_recurrent(i_f, t, states[0], initial[0], chunk.weights[0], chunk.reset_places)
        gate.sigmoid_()

    def reference(self, tensors: Named, options: Named) -> Results:
        """Return all cells, the last valid one and the one before it."""
        return self.run_reference(tensors, options, (tensors["c_0"], tensors["c_0"]))


class ScriptedPeephole(ScriptedLSTMLike):
    """The full peephole: the operator of its cells, then output gate and states. Its own loop serves decoding."""

    states = ("h_0", "c_0")
    low_states = (True, False)
    gates = (4,)
    forward_loop = staticmethod(step_loop)

    def __init__(self) -> None:
        self.cells = ScriptedCells()  # the operator; there is no other

    def fold(self, tensors: Named, factor: float) -> Folded:
        """Return the weights of a whole step; the candidate has no recurrent weight."""
        return super().fold(tensors, factor)._replace(weight_hh=tensors["weight_hh"])

    def run(self, given: Given) -> Results:
        """Return all states [T, B, H], the last valid state and cell [B, H].

        With `last_only` the first of them is empty, and the output gate is computed for the last valid step only.
        """
        weight_ih, weight_ch, bias = given.weights
        H, low, lengths, resets = weight_ch.shape[1], scripted_dtype(weight_ch), given.lengths, given.resets
        inputs, embedding, weight_ih, bias = lower(given.inputs, given.embedding, weight_ih, bias, low)
        (weight_x, weight_o), (weight_fi, weight_oc) = weight_ih.split([3 * H, H]), weight_ch.to(low).split([2 * H, H])
        bias_x, bias_o = (None, None) if bias is None else bias.split([3 * H, H])
        weights, states = (weight_x, weight_fi, bias_x), given.states[1:]
        own = given._replace(inputs=inputs, embedding=embedding, weights=weights, states=states)
        cells, c_n, c_before, _ = self.cells.run(own)
        if not given.last_only:
            c_0 = states[0].to(cells.dtype)
            tensors = (inputs, embedding, weight_o, weight_oc, bias_o, c_0, cells, resets)
            hidden, _ = output_operator(*tensors, given.keep)
            return hidden, last_rows(hidden, lengths), c_n
        steps = -1 if lengths is None else lengths - 1
        last = inputs[steps, torch.arange(inputs.shape[1], device=inputs.device)][None]  # [1, B, …]
        if resets is not None:
            c_before = c_before.masked_fill(last_rows(resets, lengths)[:, None], 0)
        with without_autocast(inputs.device):
            h_n = output_state(project(last, embedding, weight_o, bias_o), c_before[None], c_n[None], weight_oc)
        return h_n.new_empty(0, *h_n.shape[1:], dtype=low), h_n[0].to(low), c_n


SCRIPTED = ScriptedPeephole()
