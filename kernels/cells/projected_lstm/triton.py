"""The LSTM with a projected state on a GPU: the LSTM's time loops with a folded recurrent weight.

m = tanh(c) ⊙ o [B, H] is what the LSTM calls its state, and h = W_hr m [B, P]. So W_hh h′ = (W_hh W_hr) m′: the loops
are the LSTM's on m, with the recurrent weight W_hh W_hr [4H, H], multiplied in the dtype of sums and rounded once. h of
all steps is one GEMM after the loop. h_0 need not be W_hr times anything: W_hh h_0 is added to the input projection of
the first step, and m_0 is 0.

The backward pass computes the gates from the stored h. The gradient of m from outside, ∂h W_hr, is one GEMM before its
loop. After the loop, with δ the gradients of the gates and ∂h those of all h:

∂W_hh = Σ_t δ(t)ᵀ h(t − 1),  ∂h(t) += δ(t + 1) W_hh,  ∂W_hr = Σ_t ∂h(t)ᵀ m(t).

Legend: B batch, T time, H hidden, P projection, V vocabulary. ⊙ elementwise product, ′ the previous step.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import embedding as take_rows
from torch.nn.functional import linear

from kernels.cells.lstm.triton import TritonLSTM
from kernels.cells.projected_lstm.reference import projected_lstm_step
from kernels.operator import Grads, Named, Results
from kernels.triton.bulk import (
    first_product,
    input_gradients,
    last_gradient,
    project,
    recurrent_gradient,
    states_before,
)
from kernels.triton.cell import TritonCell

OPTIONS = {"candidate": "tanh"}  # of the LSTM's equations


class TritonProjectedLSTM(TritonCell):
    """The LSTM with a projected state. Its last result is m of all steps."""

    name = "triton_projected_lstm"
    weights = ("weight_ih", "weight_hh", "bias?", "weight_hr")
    states = ("h_0", "c_0")
    low_states = (True, False)
    step = staticmethod(projected_lstm_step)
    equations = TritonLSTM.equations

    def count_results(self) -> int:
        """Count outputs, last states, all cells and all m."""
        return 5

    def fake(self, tensors: Named, options: Named) -> Results:
        """Return empty tensors like the results."""
        *results, cells = super().fake(tensors, options)
        return *results, cells, torch.empty_like(cells, dtype=tensors["h_0"].dtype)

    def forward(self, tensors: Named, options: Named) -> Results:
        """Return h of all steps [T, B, P], the last h [B, P] and c [B, H], and c and m of all steps [T, B, H]."""
        c_0, folded = tensors["c_0"], _fold(tensors)
        m_0 = torch.zeros_like(c_0, dtype=folded.dtype)
        m, cells = self.run_forward({**tensors, "h_0": m_0}, OPTIONS, folded, _first_projection(tensors))
        hidden = linear(m, tensors["weight_hr"].to(m.dtype))
        return hidden, hidden[-1].clone(), cells[-1].clone(), cells, m

    def backward(
        self, grads: Grads, results: list[Tensor], tensors: Named, options: Named, wanted: Mapping[str, bool]
    ) -> dict[str, Any]:
        """Return the gradients of the tensors by name."""
        (grad_hidden, grad_h_n, grad_c_n, _, _), (hidden, _, _, cells, m) = grads, results
        weight_hh, resets, (T, B, H) = tensors["weight_hh"], tensors["resets"], cells.shape
        weight_hr = tensors["weight_hr"].to(weight_hh.dtype)
        grad_m, grad_m_n = (None if grad is None else grad @ weight_hr for grad in (grad_hidden, grad_h_n))
        grad_states = last_gradient(grad_m_n, cells), last_gradient(grad_c_n, cells)
        h_before = states_before(hidden, tensors["h_0"], weight_hh.dtype, resets)
        gates, grad_gates = self.gates(tensors, hidden, h_before), weight_hh.new_empty(T + 1, B, 4 * H)
        self.run_backward(tensors, OPTIONS, _fold(tensors), gates, (cells,), (grad_m,), grad_gates, grad_states)
        grad_h = grad_gates[1:] @ weight_hh
        if resets is not None:
            grad_h[:-1].masked_fill_(resets[1:, :, None], 0)
        if grad_hidden is not None:
            grad_h += grad_hidden
        if grad_h_n is not None:
            grad_h[-1] += grad_h_n  # after a row's end m stays as it was
        return {
            **input_gradients(grad_gates[:T], tensors, wanted["inputs"]),
            "weight_hh": recurrent_gradient(grad_gates[:T], h_before),
            "weight_hr": recurrent_gradient(grad_h, m),
            "h_0": first_product(grad_gates[0] @ weight_hh, resets),
            "c_0": grad_states[1],
        }


TRITON = TritonProjectedLSTM()


def _fold(tensors: Named) -> Tensor:
    """Return W_hh W_hr [4H, H] in the dtype of the products."""
    weight_hh, weight_hr = tensors["weight_hh"], tensors["weight_hr"]
    return (weight_hh.to(weight_hr.dtype) @ weight_hr).to(weight_hh.dtype)


def _first_projection(tensors: Named) -> tuple[Tensor, Tensor | None]:
    """Return what `project` does, with W_hh h_0 added to the first step.

    For tokens the first step of each row gets a row of its own behind the table [V + B, 4H].
    """
    (projected, tokens), resets = project(tensors), tensors["resets"]
    product = tensors["h_0"] @ tensors["weight_hh"].T
    if resets is not None:
        product.masked_fill_(resets[0][:, None], 0)
    if tokens is None:
        projected[0] += product
        return projected, None
    first = take_rows(tokens[0], projected) + product
    own = torch.arange(len(projected), len(projected) + len(first), dtype=tokens.dtype, device=tokens.device)
    return torch.cat([projected, first]), torch.cat([own[None], tokens[1:]])
