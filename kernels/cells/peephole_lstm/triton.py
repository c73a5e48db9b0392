"""The full-matrix peephole LSTM of the study on a GPU: the equations of a step, forward and backward.

The loops are in kernels/triton/loops.py. No gate sees h, and the output gate feeds nothing back. So the loops compute
only the cells, with the weights of i and f. The output gate and h follow for all steps at once, or for the last step if
only that is wanted; see triton_output_gate.py. Cells are float32. The backward pass computes the gates from them.

The tilde marks W x + b, for i and f with W_hc c′ added. ′ marks the previous step, ∂ the gradient of a value, δ the
gradient of a gate before its function. After a sequence has ended, the row's outputs h have no meaning.

Legend: B batch, T time, H hidden, V vocabulary.
"""

from collections.abc import Mapping

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.nn.functional import embedding as take_rows

from kernels.cell import Results
from kernels.cells.peephole_lstm.reference import peephole_step
from kernels.cells.peephole_lstm.triton_output_gate import output_gradient, output_state
from kernels.layout import last_rows, spread_last
from kernels.operator import Grads, Named
from kernels.triton.bulk import (
    add_recurrent,
    input_gradients,
    last_gradient,
    project,
    project_all,
    recurrent_gradient,
    states_before,
)
from kernels.triton.cell import Equations, TritonCell
from kernels.triton.tiles import candidate, candidate_slope


@triton.jit
def peephole_forward(
    x: tl.tuple, recurrent: tl.tuple, state: tl.tuple, vectors: tl.tuple, TANH: tl.constexpr
) -> tl.tuple:  # fmt: skip
    """Return c.

    i = σ(ĩ),  f = σ(f̃),  g = σ(g̃) or tanh(g̃),  c = g ⊙ i + c′ ⊙ f.
    """
    i, f = recurrent[0] + x[0], recurrent[1] + x[1]
    return (candidate(x[2], TANH) * tl.sigmoid(i) + state[0] * tl.sigmoid(f),)


@triton.jit
def peephole_activate(
    x: tl.tuple, before: tl.tuple, after: tl.tuple, vectors: tl.tuple, TANH: tl.constexpr
) -> tl.tuple:
    """Return i, f, g and c′."""
    return tl.sigmoid(x[0]), tl.sigmoid(x[1]), candidate(x[2], TANH), before[0]


@triton.jit
def peephole_differentiate(values: tl.tuple, grads: tl.tuple, vectors: tl.tuple, TANH: tl.constexpr) -> tl.tuple:
    """Return δi, δf and δg, and the part of ∂c′ that is not in [δi, δf] W_fi.

    δi = ∂c ⊙ g ⊙ i(1 − i),  δf = ∂c ⊙ c′ ⊙ f(1 − f),  δg = ∂c ⊙ i ⊙ g(1 − g), or 1 − g² for tanh,  ∂c′ = ∂c ⊙ f.
    """
    i, f, g, c_before = values
    grad_c = grads[0]
    grad_i = grad_c * g * i * (1.0 - i)
    grad_f = grad_c * c_before * f * (1.0 - f)
    return (grad_i, grad_f, grad_c * i * candidate_slope(g, TANH)), (grad_c * f,)


class TritonPeephole(TritonCell):
    """The full peephole; with `last_only` its first result is empty."""

    name = "triton_peephole_lstm"
    options = ("str candidate",)
    flags = ("last_only",)
    states = ("c_0",)
    step = staticmethod(peephole_step)
    equations = Equations(
        peephole_forward, peephole_activate, peephole_differentiate, gates=4, recurrent=(2,), grad_gates=4
    )

    def count_results(self) -> int:
        """Count the outputs, the last state and cell, and all cells."""
        return 4

    def fake(self, tensors: Named, options: Named) -> Results:
        """Return empty tensors like the results."""
        low, c_0, T = tensors["weight_hh"], tensors["c_0"], len(tensors["inputs"])
        B, H = c_0.shape
        hidden = low.new_empty(0 if options["last_only"] else T, B, H)
        return hidden, low.new_empty(B, H), c_0.new_empty(B, H), c_0.new_empty(T, B, H)

    def reference(self, tensors: Named, options: Named) -> Results:
        """Return all states, the last state and the last cell in differentiable operations."""
        return self.run_reference(tensors, options, (torch.zeros_like(tensors["c_0"]), tensors["c_0"]))

    def gates(self, tensors: Named, hidden: Tensor, h_before: Tensor) -> tuple[Tensor, None]:
        """Return ĩ, f̃ and g̃, and the input projection of the output gate."""
        weight_ch, H = tensors["weight_hh"], h_before.shape[2]
        gates = project_all(tensors, weight_ch.dtype)
        add_recurrent(gates[..., : 2 * H], h_before, weight_ch[: 2 * H])
        return gates, None

    def forward(self, tensors: Named, options: Named) -> Results:
        """Return all states [T, B, H], the last state and cell [B, H], and for the backward pass all cells."""
        weight_ch, c_0, lengths = (tensors[name] for name in ("weight_hh", "c_0", "lengths"))
        H, (projected, tokens) = c_0.shape[1], project(tensors)
        weight_fi, weight_o = weight_ch[: 2 * H], weight_ch[2 * H :]
        [cells] = self.run_forward(tensors, options, weight_fi, (projected, tokens))
        if options["last_only"]:
            own = _output_gate(projected)
            own = last_rows(own, lengths) if tokens is None else own[last_rows(tokens, lengths)]
            h_n = output_state(cells[-1], _last_gate(own, cells, c_0, weight_o, lengths), weight_ch.dtype)
            return weight_ch.new_empty(0, *c_0.shape), h_n, cells[-1].clone(), cells
        gates = projected if tokens is None else take_rows(tokens, _output_gate(projected).to(weight_o.dtype))
        add_recurrent(gates[..., -H:], states_before(cells, c_0, weight_o.dtype), weight_o)
        hidden = output_state(cells, gates, weight_ch.dtype)
        return hidden, last_rows(hidden, lengths), cells[-1].clone(), cells

    def backward(
        self, grads: Grads, results: list[Tensor], tensors: Named, options: Named, wanted: Mapping[str, bool]
    ) -> dict[str, Tensor | None]:
        """Return the gradients of the tensors by name.

        The output gate comes first: δo and its part of ∂c as in triton_output_gate.py, and δo W_oc, its part of ∂c′.
        """
        (grad_hidden, grad_h_n, grad_c_n, _), (hidden, _, _, cells) = grads, results
        weight_ch, c_0, lengths = (tensors[name] for name in ("weight_hh", "c_0", "lengths"))
        T, B, H = cells.shape
        weight_fi, weight_o = weight_ch[: 2 * H], weight_ch[2 * H :]
        c_before = states_before(cells, c_0, weight_ch.dtype)
        gates, _ = self.gates(tensors, cells, c_before)
        grad_gates = weight_ch.new_empty(T + 1, B, 4 * H)
        grad_o = grad_gates[:T, :, 3 * H :]
        grad_c, grad_cells, grad_before = last_gradient(grad_c_n, cells), None, None
        ends = torch.full((B,), T, device=c_0.device) if lengths is None else lengths
        if len(hidden) == 0:  # the output gate of one step
            grad_o.zero_()
            if grad_h_n is not None:
                gate_o = _last_gate(last_rows(_output_gate(gates), lengths), cells, c_0, weight_o, lengths)
                grad, grad_before = weight_ch.new_empty(B, H), weight_ch.new_zeros(T + 1, B, H)
                grad_c += output_gradient(grad_h_n, cells[-1], gate_o, grad)
                step = ends - 1, torch.arange(B, device=c_0.device)
                grad_o[step], grad_before[step] = grad, grad @ weight_o
        elif grad_hidden is not None or grad_h_n is not None:
            grad_last = weight_ch.new_zeros(B, H) if grad_h_n is None else grad_h_n
            grad_all = spread_last(grad_hidden, grad_last, ends, T, c_0.dtype)
            add_recurrent(_output_gate(gates), c_before, weight_o)
            grad_cells = output_gradient(grad_all, cells, gates, grad_gates)
            grad_before = weight_ch.new_empty(T + 1, B, H)
            torch.mm(grad_o.flatten(0, 1), weight_o, out=grad_before[:T].view(-1, H))
            grad_before[T] = 0
        else:
            grad_o.zero_()
        added = (grad_cells, None if grad_before is None else grad_before[1:])
        self.run_backward(tensors, options, weight_fi, (gates, None), cells, added, grad_gates, (grad_c,))
        grad_gates = grad_gates[:T]
        serial, grad_c_0 = grad_gates[..., : 2 * H], None
        if wanted["c_0"]:
            grad_c_0 = grad_c + serial[0] @ weight_fi + (0 if grad_before is None else grad_before[0])
        return {
            **input_gradients(grad_gates, tensors, wanted["inputs"]),
            "weight_hh": torch.cat([recurrent_gradient(serial, c_before), recurrent_gradient(grad_o, c_before)]),
            "c_0": grad_c_0,
        }


TRITON = TritonPeephole()


def _output_gate(gates: Tensor) -> Tensor:
    """Return the output gate's part […, H] of all four gates […, 4H]."""
    return gates[..., -(gates.shape[-1] // 4) :]


def _last_gate(
    projected: Tensor, cells: Tensor, c_0: Tensor, weight_o: Tensor, lengths: Tensor | None
) -> Tensor:  # fmt: skip
    """Return õ + W_oc c′ of each row's last valid step [B, H]; `projected` is its õ."""
    if lengths is None:
        c_before = cells[-2] if len(cells) > 1 else c_0
    else:
        c_before = torch.where((lengths > 1)[:, None], last_rows(cells, (lengths - 1).clamp(min=1)), c_0)
    return projected.to(cells.dtype) + c_before.to(weight_o.dtype) @ weight_o.T
