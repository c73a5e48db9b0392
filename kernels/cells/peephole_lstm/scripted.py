"""The full-matrix peephole LSTM of the study as scripted loops over its cells.

i = σ(ĩ + W_ic c′), f = σ(f̃ + W_fc c′), c = z ⊙ i + c′ ⊙ f; then o = σ(õ + W_oc c′), h = tanh(c) ⊙ o, where the tilde
marks W x + b and z is the candidate, a function of the input alone.

Nothing feeds o or h back: the serial part is [i, f] on c′, a 2H × H of the 3H × H weight. The operator returns the
cells; the output gate and the states follow from them in `output_gate.py`, and for a classifier, which reads the last
state, for one step alone. As in the LSTM, s = σ(factor · z̃), with z = s for a logistic candidate, whose factor is 1,
and z = 1 − 2s for a tanh, whose factor is −2; so the three gates i, f, s of a step are one σ over [B, 3H].

Legend: B batch, T time, H hidden, k steps of a chunk.
"""

from types import MappingProxyType

import torch
from torch import Tensor

from kernels.cell import Given, Results
from kernels.cells.peephole_lstm.output_gate import output_operator, output_state
from kernels.dtypes import compute_dtype, lower, without_autocast
from kernels.lengths import last_rows
from kernels.operator import Named
from kernels.reference import State, project, run_steps
from kernels.scripted.chunks import add_recurrent, scale_rows
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
    """Fill the cells c; turn `gates` from W x + b into i, f, s."""
    cells, weight_t, c = states[0], weights[0], before[0]
    H = cells.shape[2]
    for t in range(cells.shape[0]):
        gate = gates[0][t]
        add_product(gate[:, : 2 * H], c.to(weight_t.dtype), weight_t, scratch[0])
        gate.sigmoid_()
        i, f, s = gate[:, :H], gate[:, H : 2 * H], gate[:, 2 * H :]
        c_new = cells[t]
        if factor == 1.0:
            torch.mul(f, c, out=c_new).addcmul_(i, s)
        else:
            torch.addcmul(i, f, c, out=c_new).addcmul_(i, s, value=-2.0)
        c = c_new


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
    """Fill `grad_gates`, the gradient before each σ.

    δi = ∂c ⊙ z ⊙ i(1 − i),  δf = ∂c ⊙ c′ ⊙ f(1 − f),  δs = ∂c ⊙ i ⊙ s(1 − s), to be multiplied by the factor,
    ∂c′ = ∂c ⊙ f + [δi, δf] W.
    """
    cells, weight, grad_c, grad_cells = states[0], weights[0], grad_states[0], grads[0]
    H = cells.shape[2]
    for t in range(cells.shape[0] - 1, -1, -1):
        gate, grad = gates[0][t], grad_gates[0][t]
        c_before = cells[t - 1] if t > 0 else before[0]
        i, f, s = gate[:, :H], gate[:, H : 2 * H], gate[:, 2 * H :]
        grad_i, grad_f, grad_s = grad[:, :H], grad[:, H : 2 * H], grad[:, 2 * H :]
        if grad_cells is not None:
            grad_c.add_(grad_cells[t])
        if factor == 1.0:
            torch.mul(grad_c, s, out=grad_i)
        else:
            torch.addcmul(grad_c, grad_c, s, value=-2.0, out=grad_i)
        torch.mul(grad_c, c_before, out=grad_f)
        torch.mul(grad_c, i, out=grad_s)
        torch.ops.aten.sigmoid_backward(grad, gate, grad_input=grad)
        grad_c.mul_(f)
        if weight.dtype == grad.dtype:
            grad_c.addmm_(grad[:, : 2 * H], weight)
        else:
            low = grad_gates[1][t]
            low.copy_(grad)
            torch.mm(low[:, : 2 * H], weight, out=scratch[0])
            grad_c.add_(scratch[0])


def cells_step(projected: Tensor, state: State, weight_hh: Tensor, candidate: str) -> State:
    """Return the next cell and the present one; arguments as in `reference.peephole_step`, of i, f and z alone."""
    c = state[0]
    i_f, z = projected.split([len(weight_hh), weight_hh.shape[1]], dim=1)
    i, f = torch.sigmoid(i_f + c @ weight_hh.T).chunk(2, dim=1)
    return getattr(torch, candidate)(z) * i + c * f, c


class ScriptedPeephole(ScriptedCell):
    """The cells of the full peephole: input weights of i, f and z, recurrent weights of i and f on the cell."""

    name = "peephole_cells"
    options = MappingProxyType({"candidate": "str"})
    states = ("c_0",)
    gates = (3,)
    candidate = 2
    grad_gates = 3
    recurrent_blocks = (0, 2)
    returns_before_last = True
    step = staticmethod(cells_step)
    forward_loop = staticmethod(forward_loop)
    backward_loop = staticmethod(backward_loop)

    def factor(self, options: Named) -> float:
        """Return −2 for tanh(x) = 1 − 2 σ(−2x), 1 for a logistic."""
        return -2.0 if options["candidate"] == "tanh" else 1.0

    def gradient_factor(self, options: Named) -> float:
        """Return the square: the loop's δs lacks the factor, and the pre-activation has another."""
        return self.factor(options) ** 2

    def fold(self, tensors: Named, factor: float) -> Folded:
        """Multiply the candidate's rows by the factor."""
        H = tensors["weight_hh"].shape[1]
        weight_ih, bias = (scale_rows(tensors[name], factor, 2 * H, 3 * H) for name in ("weight_ih", "bias"))
        return Folded(weight_ih, bias, tensors["weight_hh"], [])

    def unfold(self, gradients: Gradients, factor: float) -> dict[str, Tensor]:
        """Multiply the candidate's rows by the factor."""
        H = gradients.weight_hh.shape[1]
        weight_ih, bias = (scale_rows(each, factor, 2 * H, 3 * H) for each in (gradients.weight_ih, gradients.bias))
        return {"weight_ih": weight_ih, "weight_hh": gradients.weight_hh, "bias": bias}

    def rebuild(
        self, gates: list[Tensor], t: int, states: list[Tensor], initial: list[Tensor], weights: list[Tensor]
    ) -> None:
        """Compute i, f, s from the stored cells."""
        add_recurrent(gates[0][..., : 2 * states[0].shape[2]], t, states[0], initial[0], weights[0])
        gates[0].sigmoid_()

    def reference(self, tensors: Named, options: Named) -> Results:
        """Return all cells, the last valid one and the one before it."""
        arguments = (tensors["weight_hh"], options["candidate"])
        return run_steps(
            cells_step, tensors["inputs"], tensors["embedding"], (tensors["weight_ih"], tensors["bias"]), arguments,
            (tensors["c_0"], tensors["c_0"]), tensors["lengths"],
        )  # fmt: skip


CELLS = ScriptedPeephole()


def peephole_lstm(given: Given) -> Results:
    """Return all states [T, B, H], the last valid state and cell [B, H].

    With `last_only` the first of them is empty, and the output gate is computed for the last valid step alone.
    """
    weight_ih, weight_ch, bias = given.weights
    H, low, lengths = weight_ch.shape[1], compute_dtype(weight_ch), given.lengths
    inputs, embedding, weight_ih, bias = lower(given.inputs, given.embedding, weight_ih, bias, low)
    (weight_x, weight_o), (weight_fi, weight_oc) = weight_ih.split([3 * H, H]), weight_ch.to(low).split([2 * H, H])
    bias_x, bias_o = (None, None) if bias is None else bias.split([3 * H, H])
    own = given._replace(inputs=inputs, embedding=embedding, weights=(weight_x, weight_fi, bias_x))
    cells, c_n, c_before, _ = CELLS.run(own)
    if not given.last_only:
        c_0 = given.states[1].to(cells.dtype)
        hidden, _ = output_operator(inputs, embedding, weight_o, weight_oc, bias_o, c_0, cells, given.keep)
        return hidden, last_rows(hidden, lengths), c_n
    steps = -1 if lengths is None else lengths - 1
    last = inputs[steps, torch.arange(inputs.shape[1], device=inputs.device)][None]  # [1, B, …]
    with without_autocast(inputs.device):
        h_n = output_state(project(last, embedding, weight_o, bias_o), c_before[None], c_n[None], weight_oc)
    return h_n.new_empty(0, *h_n.shape[1:], dtype=low), h_n[0].to(low), c_n
