"""The full-matrix peephole LSTM of the study: the equations, step by step, under autograd.

Legend: B batch, T time, I input, H hidden, V vocabulary. ⊙ elementwise product, σ logistic, ′ the previous step.
"""

import torch
from torch import Tensor

from kernels.reference import State


def peephole_step(projected: Tensor, state: State, weight_ch: Tensor, candidate: str) -> State:
    """Return the next state and cell of the full-matrix peephole LSTM.

    It is the variant of the practical of 2020 (University of Amsterdam, Deep Learning, practical 2). Gers, Schraudolph
    & Schmidhuber (2002, JMLR 3:115–143), who introduced peepholes, keep h′ in the gates and use diagonal matrices.

    i = σ(W_ix x + W_ic c′ + b_i)
    f = σ(W_fx x + W_fc c′ + b_f)
    o = σ(W_ox x + W_oc c′ + b_o)
    c = σ(W_cx x + b_c) ⊙ i + c′ ⊙ f
    h = tanh(c) ⊙ o

    No gate sees the state h′; the candidate has σ by default.

    Args:
        projected: [B, 4H], gates i, f, g, o, where g is the candidate.
        state: previous state, which no gate sees, and cell c [B, H].
        weight_ch: [3H, H], gates i, f, o.
        candidate: the candidate's function, "tanh" or "sigmoid".
    """
    _, c = state
    i, f, g, o = projected.chunk(4, dim=1)
    c_i, c_f, c_o = (c @ weight_ch.T).chunk(3, dim=1)
    i, f, o = torch.sigmoid(i + c_i), torch.sigmoid(f + c_f), torch.sigmoid(o + c_o)
    c = getattr(torch, candidate)(g) * i + c * f
    return torch.tanh(c) * o, c
