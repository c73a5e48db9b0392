"""Elman's network, tanh or relu: the equations, step by step, under autograd.

Legend: B batch, T time, I input, H hidden, V vocabulary. ⊙ elementwise product, σ logistic, ′ the previous step.
"""

import torch
from torch import Tensor

from kernels.reference import State


def rnn_step(projected: Tensor, state: State, weight_hh: Tensor, nonlinearity: str) -> State:
    """Return the next state of Elman's network, h = tanh(W_hx x + b + W_hh h′), or with relu for tanh.

    Paper: Elman (1990), doi:10.1207/s15516709cog1402_1.

    Args:
        projected: [B, H].
        state: previous state h [B, H].
        weight_hh: [H, H].
        nonlinearity: "tanh" or "relu".
    """
    (h,) = state
    return (getattr(torch, nonlinearity)(projected + h @ weight_hh.T),)
