"""Recurrent layers with torch.nn's interface at native speed, peepholes included. Knows no trainer and no data."""

from kernels.dispatch import Backend, choose, forced, unscripted
from kernels.layers import GRU, LSTM, RNN, PeepholeLSTM

__all__ = ["GRU", "LSTM", "RNN", "Backend", "PeepholeLSTM", "choose", "forced", "unscripted"]
