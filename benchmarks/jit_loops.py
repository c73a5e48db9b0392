"""The cells' equations as plain TorchScript loops, which TorchScript differentiates itself: a peer of the kernels.

`projected` is W_ih x + b [T, B, G] of G gate rows, h and c are [B, H], and `weights` are those of the recurrence.
"""

import warnings
from typing import Any

import torch
from torch import Tensor


def jit_step(cell: str) -> Any:
    """Return a scripted loop over the cell's equations, differentiated by TorchScript itself."""
    steps = {
        "lstm": _jit_lstm,
        "gru": _jit_gru,
        "rnn": _jit_rnn,
        "peephole_full": _jit_full,
        "peephole_diagonal": _jit_diagonal,
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        return torch.jit.script(steps[cell])


def _jit_lstm(projected: Tensor, weights: list[Tensor], h: Tensor, c: Tensor) -> Tensor:
    states: list[Tensor] = []
    for x in projected.unbind(0):
        i, f, g, o = (x + h @ weights[0].t()).chunk(4, 1)
        c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
        h = torch.sigmoid(o) * torch.tanh(c)
        states.append(h)
    return torch.stack(states)


def _jit_gru(projected: Tensor, weights: list[Tensor], h: Tensor, c: Tensor) -> Tensor:
    states: list[Tensor] = []
    for x in projected.unbind(0):
        r, z, n = x.chunk(3, 1)
        h_r, h_z, h_n = torch.addmm(weights[1], h, weights[0].t()).chunk(3, 1)
        r, z = torch.sigmoid(r + h_r), torch.sigmoid(z + h_z)
        n = torch.tanh(n + r * h_n)
        h = n + z * (h - n)
        states.append(h)
    return torch.stack(states)


def _jit_rnn(projected: Tensor, weights: list[Tensor], h: Tensor, c: Tensor) -> Tensor:
    states: list[Tensor] = []
    for x in projected.unbind(0):
        h = torch.tanh(x + h @ weights[0].t())
        states.append(h)
    return torch.stack(states)


def _jit_full(projected: Tensor, weights: list[Tensor], h: Tensor, c: Tensor) -> Tensor:
    states: list[Tensor] = []
    for x in projected.unbind(0):
        i, f, g, o = x.chunk(4, 1)
        c_i, c_f, c_o = (c @ weights[0].t()).chunk(3, 1)
        i, f, o = torch.sigmoid(i + c_i), torch.sigmoid(f + c_f), torch.sigmoid(o + c_o)
        c = torch.sigmoid(g) * i + c * f
        states.append(torch.tanh(c) * o)
    return torch.stack(states)


def _jit_diagonal(projected: Tensor, weights: list[Tensor], h: Tensor, c: Tensor) -> Tensor:
    states: list[Tensor] = []
    for x in projected.unbind(0):
        i, f, g, o = (x + h @ weights[0].t()).chunk(4, 1)
        i, f = torch.sigmoid(i + weights[1][0] * c), torch.sigmoid(f + weights[1][1] * c)
        c = torch.tanh(g) * i + c * f
        h = torch.tanh(c) * torch.sigmoid(o + weights[1][2] * c)
        states.append(h)
    return torch.stack(states)
