"""The sLSTM on a GPU: the equations of a step, forward and backward.

The loops are in kernels/triton/loops.py. The tilde marks W x + b + R h′, ′ the previous step, ∂ the gradient of a
value, δ the gradient of a gate before its function; `shift.py` explains μ. c, n and m are float32. The kernels multiply
by a full recurrent matrix. Heads are blocks on its diagonal, and make a step no faster here. The backward pass computes
the gates from the stored states.
"""

from collections.abc import Mapping
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from kernels.cells.slstm.reference import slstm_step
from kernels.cells.slstm.shift import with_shift, without_shift
from kernels.operator import Grads, Named
from kernels.triton.cell import Equations, TritonCell
from kernels.triton.tiles import tanh


@triton.jit
def kept_maximum(f: tl.tensor, n: tl.tensor, m: tl.tensor, EXP: tl.constexpr) -> tl.tensor:
    """Return l + m′, with l = f̃ or log σ(f̃) = min(f̃, 0) − log(1 + exp(−|f̃|)); −∞ where n′ is 0."""
    log_f = f if EXP else tl.minimum(f, 0.0) - tl.log(1.0 + tl.exp(-tl.abs(f)))
    return tl.where(n == 0.0, float("-inf"), log_f + m)


@triton.jit
def slstm_forward(x: tl.tuple, recurrent: tl.tuple, state: tl.tuple, vectors: tl.tuple, EXP: tl.constexpr) -> tl.tuple:
    """Return h, c, n and m.

    m = max(l + m′, ĩ),  i = exp(ĩ − m),  f = exp(l + m′ − m),  c = f ⊙ c′ + i ⊙ tanh(z̃),  n = f ⊙ n′ + i,
    h = σ(õ) ⊙ c / n.
    """
    i, f, z, o = recurrent[0] + x[0], recurrent[1] + x[1], recurrent[2] + x[2], recurrent[3] + x[3]
    kept = kept_maximum(f, state[2], state[3], EXP)
    m = tl.maximum(kept, i)
    i, f = tl.exp(i - m), tl.exp(kept - m)
    c = f * state[1] + i * tanh(z)
    n = f * state[2] + i
    return tl.sigmoid(o) * c / n, c, n, m


@triton.jit
def slstm_activate(x: tl.tuple, before: tl.tuple, after: tl.tuple, vectors: tl.tuple, EXP: tl.constexpr) -> tl.tuple:
    """Return i, f, z, o, the derivative of l, whether ĩ is the larger one in m, c′, n′, c and n."""
    i, f, z, o = x
    kept = kept_maximum(f, before[1], before[2], EXP)
    m = tl.maximum(kept, i)
    slope = tl.full(f.shape, 1.0, tl.float32) if EXP else tl.sigmoid(-f)
    n = tl.where(after[1] == 0.0, 1.0, after[1])  # 0 beyond H and B only
    return (
        tl.exp(i - m), tl.exp(kept - m), tanh(z), tl.sigmoid(o), slope, i >= kept, before[0], before[1], after[0], n,
    )  # fmt: skip


@triton.jit
def slstm_differentiate(values: tl.tuple, grads: tl.tuple, vectors: tl.tuple, EXP: tl.constexpr) -> tl.tuple:
    """Return δi, δf, δz and δo, and the gradients of h′, c′, n′, and μ′; that of h′ is 0 here, since δ R is all of it.

    p = ∂h ⊙ h,  δo = p ⊙ (1 − o),  ∂c += ∂h ⊙ o / n,  ∂n −= p / n,  δz = ∂c ⊙ i ⊙ (1 − z²),
    δi = (∂c ⊙ z + ∂n) ⊙ i,  ∂c′ = ∂c ⊙ f,  ∂n′ = ∂n ⊙ f,  δf = (∂c′ ⊙ c′ + ∂n′ ⊙ n′ + μ′) ⊙ l′.
    """
    i, f, z, o, slope, is_new, c_before, n_before, c, n = values
    grad_h, grad_c, grad_n, shift = grads
    p = grad_h * o * c / n
    grad_c = grad_c + grad_h * o / n
    grad_n = grad_n - p / n
    shift_before = tl.where(is_new, 0.0, shift)
    grad_i = (grad_c * z + grad_n) * i + (shift - shift_before)
    grad_z = grad_c * i * (1.0 - z * z)
    grad_c = grad_c * f
    grad_n = grad_n * f
    grad_f = (grad_c * c_before + grad_n * n_before + shift_before) * slope
    return (grad_i, grad_f, grad_z, p * (1.0 - o)), (tl.zeros_like(grad_h), grad_c, grad_n, shift_before)


class TritonSLSTM(TritonCell):
    """The sLSTM with a full recurrent matrix, see `full_matrix`."""

    name = "triton_slstm"
    options = ("str forget_gate", "int num_heads")
    states = ("h_0", "c_0", "n_0", "m_0")
    low_states = (True, False, False, False)
    states_read = 3
    step = staticmethod(slstm_step)
    equations = Equations(
        slstm_forward, slstm_activate, slstm_differentiate, gates=4, recurrent=(4,), grad_gates=4, option="exp"
    )

    def backward(
        self, grads: Grads, results: list[Tensor], tensors: Named, options: Named, wanted: Mapping[str, bool]
    ) -> dict[str, Any]:
        """Return the gradients of the tensors by name."""
        found = super().backward(with_shift(grads, results), results, tensors, options, wanted)
        return without_shift(found, tensors)


TRITON = TritonSLSTM()


def full_matrix(weight_hh: Tensor) -> Tensor:
    """Return [4H, H] with the heads' weights [4H, D] as blocks on the diagonal of each gate, and zeros elsewhere."""
    D = weight_hh.shape[1]
    by_head = weight_hh.view(4, -1, D, D)
    heads = torch.eye(by_head.shape[1], dtype=weight_hh.dtype, device=weight_hh.device)
    return torch.einsum("gndk,nm->gndmk", by_head, heads).reshape(len(weight_hh), -1)
