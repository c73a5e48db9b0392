"""The GRU in torch.nn's form: the equations, step by step, under autograd.

Legend: B batch, T time, I input, H hidden, V vocabulary. ⊙ elementwise product, σ logistic, ′ the previous step.
"""

import torch
from torch import Tensor
from torch.nn.functional import linear

from kernels.reference import State


def gru_step(projected: Tensor, state: State, weight_hh: Tensor, bias_hh: Tensor | None) -> State:
    """Return the next state of the gated recurrent unit (Cho et al. 2014, arXiv:1406.1078), in torch.nn's form.

    torch.nn multiplies r with W_hn h′ + b_hn; Cho et al. multiply r with h′ before the matrix.

    r = σ(W_ir x + b_ir + W_hr h′ + b_hr)
    z = σ(W_iz x + b_iz + W_hz h′ + b_hz)
    n = tanh(W_in x + b_in + r ⊙ (W_hn h′ + b_hn))
    h = (1 − z) ⊙ n + z ⊙ h′

    Args:
        projected: [B, 3H], gates r, z, n.
        state: previous state h [B, H].
        weight_hh: [3H, H].
        bias_hh: [3H] or None.
    """
    (h,) = state
    r, z, n = projected.chunk(3, dim=1)
    h_r, h_z, h_n = linear(h, weight_hh, bias_hh).chunk(3, dim=1)
    r, z = torch.sigmoid(r + h_r), torch.sigmoid(z + h_z)
    return ((1 - z) * torch.tanh(n + r * h_n) + z * h,)
