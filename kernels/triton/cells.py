"""The cells of the Triton backend. Importing this imports triton."""

from kernels.triton.gru import gru
from kernels.triton.lstm import lstm
from kernels.triton.peephole import peephole_lstm
from kernels.triton.rnn import rnn

__all__ = ["gru", "lstm", "peephole_lstm", "rnn"]
