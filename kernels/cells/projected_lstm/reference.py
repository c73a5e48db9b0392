"""The LSTM with a projected state: the equations, step by step, under autograd.

Legend: B batch, H hidden, P projection. ⊙ elementwise product, σ logistic, ′ the previous step.
"""

import torch
from torch import Tensor

from kernels.reference import State


def projected_lstm_step(projected: Tensor, state: State, weight_hh: Tensor, weight_hr: Tensor) -> State:
    """Return the next state and cell of the LSTM with a recurrent projection (Sak et al. 2014, arXiv:1402.1128).

    i = σ(W_ix x + W_ih h′ + b_i)
    f = σ(W_fx x + W_fh h′ + b_f)
    g = tanh(W_gx x + W_gh h′ + b_g)
    c = g ⊙ i + c′ ⊙ f
    o = σ(W_ox x + W_oh h′ + b_o)
    h = W_hr (tanh(c) ⊙ o)

    Args:
        projected: [B, 4H], gates i, f, g, o.
        state: previous state h [B, P] and cell c [B, H].
        weight_hh: [4H, P].
        weight_hr: [P, H].
    """
    h, c = state
    i, f, g, o = (projected + h @ weight_hh.T).chunk(4, dim=1)
    c = torch.tanh(g) * torch.sigmoid(i) + c * torch.sigmoid(f)
    return (torch.tanh(c) * torch.sigmoid(o)) @ weight_hr.T, c
