"""Recurrent layers with torch.nn's interface, and a peephole LSTM. They need torch only: no trainer and no data."""

from kernels.as_torch import as_torch
from kernels.cell import Cell
from kernels.cells.gru.layer import GRU
from kernels.cells.layer_norm_lstm.layer import LayerNormLSTM
from kernels.cells.lstm.layer import LSTM
from kernels.cells.peephole_lstm.layer import PeepholeLSTM
from kernels.cells.rnn.layer import RNN
from kernels.cells.slstm.layer import SLSTM
from kernels.dispatch import Backend, Case, choose, forced, unscripted
from kernels.layer import RecurrentLayer

__all__ = [
    "GRU",
    "LSTM",
    "RNN",
    "SLSTM",
    "Backend",
    "Case",
    "Cell",
    "LayerNormLSTM",
    "PeepholeLSTM",
    "RecurrentLayer",
    "as_torch",
    "choose",
    "forced",
    "unscripted",
]
