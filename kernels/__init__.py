"""Recurrent layers with torch.nn's interface at native speed, peepholes included. Knows no trainer and no data."""

from kernels.as_torch import as_torch
from kernels.dispatch import Backend, Case, choose, forced, unscripted
from kernels.layers import GRU, LSTM, RNN, PeepholeLSTM
from kernels.recurrent_layer import RecurrentLayer

__all__ = [
    "GRU",
    "LSTM",
    "RNN",
    "Backend",
    "Case",
    "PeepholeLSTM",
    "RecurrentLayer",
    "as_torch",
    "choose",
    "forced",
    "unscripted",
]
