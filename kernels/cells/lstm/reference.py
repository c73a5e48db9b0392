"""The LSTM, plain or with diagonal peepholes: the equations, step by step, under autograd.

Legend: B batch, T time, I input, H hidden, V vocabulary. ⊙ elementwise product, σ logistic, ′ the previous step.
"""

import torch
from torch import Tensor

from kernels.reference import State


def lstm_step(
    projected: Tensor, state: State, weight_hh: Tensor, weight_peephole: Tensor | None, candidate: str
) -> State:
    """Return the next state and cell of the LSTM, or of its diagonal peephole form.

    LSTM: Hochreiter & Schmidhuber (1997, doi:10.1162/neco.1997.9.8.1735), with the forget gate of Gers, Schmidhuber &
    Cummins (2000, doi:10.1162/089976600300015015). Peepholes: Gers, Schraudolph & Schmidhuber (2002, JMLR 3:115–143).

    i = σ(W_ix x + W_ih h′ + b_i + p_i ⊙ c′)
    f = σ(W_fx x + W_fh h′ + b_f + p_f ⊙ c′)
    g = tanh(W_gx x + W_gh h′ + b_g)
    c = g ⊙ i + c′ ⊙ f
    o = σ(W_ox x + W_oh h′ + b_o + p_o ⊙ c)
    h = tanh(c) ⊙ o

    Without peepholes p = 0.

    Args:
        projected: [B, 4H], gates i, f, g, o.
        state: previous state h and cell c [B, H].
        weight_hh: [4H, H].
        weight_peephole: p [3, H], gates i, f, o.
        candidate: the candidate's function, "tanh" or "sigmoid".
    """
    h, c = state
    i, f, g, o = (projected + h @ weight_hh.T).chunk(4, dim=1)
    p_i, p_f, p_o = (c.new_zeros(3, 1) if weight_peephole is None else weight_peephole).unbind()
    i = torch.sigmoid(i + p_i * c)
    f = torch.sigmoid(f + p_f * c)
    c = getattr(torch, candidate)(g) * i + c * f
    o = torch.sigmoid(o + p_o * c)
    return torch.tanh(c) * o, c
