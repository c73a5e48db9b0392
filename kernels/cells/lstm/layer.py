"""The LSTM: the layer."""

from torch import nn

from kernels import native
from kernels.cell import Cell, Given, Results
from kernels.cells.lstm.reference import lstm_step
from kernels.cells.lstm.scripted import SCRIPTED
from kernels.layer import RecurrentLayer, Shapes, gate_shapes


def _triton(given: Given) -> Results:
    from kernels.cells.lstm.triton import TRITON

    return TRITON.run(given)


LSTM_CELL = Cell(
    name="lstm",
    weights=("weight_ih", "weight_hh", "bias", "weight_peephole"),
    step=lstm_step,
    scripted=SCRIPTED,
    native=native.lstm,
    triton=_triton,
    serial_gates=4,
    onednn=True,
)


class LSTM(RecurrentLayer):
    """Long short-term memory, torch.nn.LSTM's twin: gates i, f, g, o, two biases; equations in `reference.py`.

    Arguments and errors are those of `RecurrentLayer`.
    """

    num_states = 2
    cell = LSTM_CELL
    cell_options = ("tanh",)
    torch_layer = nn.LSTM

    def shapes(self, input_size: int) -> Shapes:
        """Return torch.nn.LSTM's parameters."""
        return gate_shapes(input_size, self.hidden_size, 4, self.bias)
