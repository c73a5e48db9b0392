"""The GRU on a GPU: the equations of a step, forward and backward, for the loops of kernels/triton/loops.py.

The tilde marks the sum of both products and both biases, but ñ = W_in x + b_in. ′ marks the previous step, ∂ the
gradient of a value, δ the gradient of a gate before its function. States are float32, also for 16-bit weights. The
backward pass computes the gates from them.
"""

from collections.abc import Mapping
from typing import Any

import triton
import triton.language as tl
from torch import Tensor
from torch.nn.functional import linear

from kernels.cells.gru.reference import gru_step
from kernels.operator import Grads, Named, Results
from kernels.triton.bulk import add_recurrent, project_all
from kernels.triton.cell import Equations, TritonCell
from kernels.triton.tiles import tanh


@triton.jit
def gru_forward(x: tl.tuple, recurrent: tl.tuple, state: tl.tuple, vectors: tl.tuple, OPTION: tl.constexpr) -> tl.tuple:
    """Return h.

    r = σ(r̃),  z = σ(z̃),  q = W_hn h′ + b_hn,  n = tanh(ñ + r ⊙ q),  h = (1 − z) ⊙ n + z ⊙ h′.
    """
    h = state[0]
    r, z, q = recurrent[0] + x[0], recurrent[1] + x[1], recurrent[2] + vectors[0]
    n = tanh(x[2] + tl.sigmoid(r) * q)
    return (n + tl.sigmoid(z) * (h - n),)


@triton.jit
def gru_activate(x: tl.tuple, before: tl.tuple, after: tl.tuple, vectors: tl.tuple, OPTION: tl.constexpr) -> tl.tuple:
    """Return n, r, z, q and h′."""
    n, r, z, q = x
    r = tl.sigmoid(r)
    return tanh(n + r * q), r, tl.sigmoid(z), q, before[0]


@triton.jit
def gru_differentiate(values: tl.tuple, grads: tl.tuple, vectors: tl.tuple, OPTION: tl.constexpr) -> tl.tuple:
    """Return δn, δr, δz and δq, and the part of ∂h′ that is not in [δr, δz, δq] W_hh.

    δn = ∂h ⊙ (1 − z) ⊙ (1 − n²),  δz = ∂h ⊙ (h′ − n) ⊙ z(1 − z),  δq = δn ⊙ r,  δr = δn ⊙ q ⊙ r(1 − r),
    ∂h′ = ∂h ⊙ z.
    """
    n, r, z, q, h_before = values
    grad_h = grads[0]
    grad_n = grad_h * (1.0 - z) * (1.0 - n * n)
    grad_z = grad_h * (h_before - n) * z * (1.0 - z)
    return (grad_n, grad_n * q * r * (1.0 - r), grad_z, grad_n * r), (grad_h * z,)


class TritonGRU(TritonCell):
    """The GRU."""

    name = "triton_gru"
    weights = ("weight_ih", "weight_hh", "bias_ih?", "bias_hh?")
    step = staticmethod(gru_step)
    equations = Equations(
        gru_forward, gru_activate, gru_differentiate, gates=3, recurrent=(2, 1), grad_gates=4, first=1
    )

    def forward(self, tensors: Named, options: Named) -> Results:
        """Return all states [T, B, H] and the last one [B, H]."""
        return super().forward({**tensors, "bias": _input_bias(tensors)}, options)

    def vectors(self, tensors: Named) -> tuple[Tensor]:
        """Return b_hn."""
        bias_hh, H = tensors["bias_hh"], tensors["h_0"].shape[1]
        return (tensors["h_0"].new_zeros(H) if bias_hh is None else bias_hh[2 * H :],)

    def gates(self, tensors: Named, hidden: Tensor, h_before: Tensor) -> tuple[Tensor, Tensor]:
        """Return ñ, r̃ and z̃ [T, B, 3H], and q [T, B, H]."""
        weight_hh, H = tensors["weight_hh"], h_before.shape[2]
        gates, (bias_n,) = project_all(tensors, weight_hh.dtype), self.vectors(tensors)
        add_recurrent(gates[..., H:], h_before, weight_hh[: 2 * H])
        return gates, linear(h_before, weight_hh[2 * H :], bias_n.to(h_before.dtype))

    def backward(
        self, grads: Grads, results: list[Tensor], tensors: Named, options: Named, wanted: Mapping[str, bool]
    ) -> dict[str, Any]:
        """Return the gradients of the tensors by name.

        The gradients of the gates come in the order n, r, z, q. The first three belong to the input weight, the last
        three to the recurrent weight.
        """
        H, bias = results[0].shape[2], _input_bias(tensors)
        own = {
            **tensors,
            "weight_ih": tensors["weight_ih"].roll(H, 0),
            "bias": None if bias is None else bias.roll(H, 0),
        }
        gradients = super().backward(grads, results, own, options, wanted)
        return {
            **gradients,
            "weight_ih": gradients["weight_ih"].roll(-H, 0),
            "bias_ih": gradients["bias"].roll(-H, 0),
            "bias_hh": gradients["gates"][..., H:].sum((0, 1), dtype=tensors["h_0"].dtype),
        }


class TritonZoneoutGRU(TritonGRU):
    """The GRU with zoneout."""

    name = "triton_zoneout_gru"
    has_zoneout = True


TRITON = TritonGRU()
ZONEOUT = TritonZoneoutGRU()


def _input_bias(tensors: Named) -> Tensor | None:
    """Return the bias of r̃, z̃ and ñ [3H]: b_ih, with b_hh added for r and z."""
    bias_ih, bias_hh = tensors["bias_ih"], tensors["bias_hh"]
    if bias_ih is None:
        return None
    bias, end = bias_ih.to(bias_hh.dtype, copy=True), 2 * tensors["h_0"].shape[1]
    bias[:end] += bias_hh[:end]
    return bias.to(bias_ih.dtype)
