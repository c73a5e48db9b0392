"""The GRU: the layer."""

import torch
from torch import nn

from kernels import native
from kernels.cell import Cell, Given, Results
from kernels.cells.gru.reference import gru_step
from kernels.cells.gru.scripted import SCRIPTED, ZONEOUT
from kernels.layer import RecurrentLayer, Shapes, gate_shapes


def _triton(given: Given) -> Results:
    from kernels.cells.gru.triton import TRITON, ZONEOUT

    return (ZONEOUT if given.zoneout else TRITON).run(given)


GRU_CELL = Cell(
    name="gru",
    weights=("weight_ih", "weight_hh", "bias_ih", "bias_hh"),
    step=gru_step,
    scripted=SCRIPTED,
    zoneout=ZONEOUT,
    native=native.gru,
    triton=_triton,
    serial_gates=3,
    onnx=True,
)


class GRU(RecurrentLayer):
    """Gated recurrent unit, torch.nn.GRU's twin: gates r, z, n, two biases; equations in `reference.py`.

    Arguments and errors are those of `RecurrentLayer`.
    """

    cell = GRU_CELL
    torch_layer = nn.GRU

    def shapes(self, input_size: int) -> Shapes:
        """Return torch.nn.GRU's parameters."""
        return gate_shapes(input_size, self.hidden_size, 3, self.bias)

    def result_dtype(self, given: torch.dtype) -> torch.dtype:
        """Return what torch.nn.GRU returns: on a CPU, unlike LSTM and RNN, the vectors' dtype under autocast."""
        return given if self._stored.device.type == "cpu" else super().result_dtype(given)
