"""The LSTM with layer normalisation: the equations, step by step, under autograd.

Legend: B batch, T time, I input, H hidden, V vocabulary. ⊙ elementwise product, σ logistic, ′ the previous step.
"""

import torch
from torch import Tensor
from torch.nn.functional import layer_norm

from kernels.reference import State

EPSILON = 1e-5  # added to variances; nn.LayerNorm's default


def layer_norm_lstm_step(
    projected: Tensor,
    state: State,
    weight_hh: Tensor,
    gain_ih: Tensor,
    gain_hh: Tensor,
    gain_c: Tensor,
    bias: Tensor | None,
    bias_c: Tensor | None,
) -> State:
    """Return the next state and cell of the LSTM with layer normalisation.

    Paper: Ba, Kiros & Hinton (2016, arXiv:1607.06450), equations 20 to 22. Both products, with all four gates together,
    and the cell are normalised to mean 0 and variance 1 over their units.

    ĩ, f̃, g̃, õ = γ_x ⊙ norm(W_x x) + γ_h ⊙ norm(W_h h′) + b
    c = tanh(g̃) ⊙ σ(ĩ) + c′ ⊙ σ(f̃)
    h = tanh(γ_c ⊙ norm(c) + b_c) ⊙ σ(õ)

    b is the sum of the paper's three biases of the gates.

    Args:
        projected: W_x x [B, 4H], gates i, f, g, o.
        state: previous state h and cell c [B, H].
        weight_hh: W_h [4H, H].
        gain_ih: γ_x [4H].
        gain_hh: γ_h [4H].
        gain_c: γ_c [H].
        bias: b [4H] or None.
        bias_c: b_c [H] or None.
    """
    h, c = state
    i, f, g, o = (_norm(projected, gain_ih, bias) + _norm(h @ weight_hh.T, gain_hh, None)).chunk(4, dim=1)
    c = torch.tanh(g) * torch.sigmoid(i) + c * torch.sigmoid(f)
    return torch.tanh(_norm(c, gain_c, bias_c)) * torch.sigmoid(o), c


def _norm(x: Tensor, gain: Tensor, bias: Tensor | None) -> Tensor:
    return layer_norm(x, gain.shape, gain.to(x.dtype), None if bias is None else bias.to(x.dtype), EPSILON)
