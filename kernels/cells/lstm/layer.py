"""The LSTM: the layer."""

from typing import Any

from torch import nn

from kernels import native
from kernels.cell import Cell, Given, Results
from kernels.cells.lstm.reference import lstm_step
from kernels.cells.lstm.scripted import SCRIPTED, ZONEOUT
from kernels.cells.projected_lstm.cell import PROJECTED_CELL
from kernels.layer import RecurrentLayer, Shapes, gate_shapes


def _triton(given: Given) -> Results:
    from kernels.cells.lstm.triton import TRITON, ZONEOUT

    return (ZONEOUT if given.zoneout else TRITON).run(given)


LSTM_CELL = Cell(
    name="lstm",
    weights=("weight_ih", "weight_hh", "bias", "weight_peephole"),
    step=lstm_step,
    scripted=SCRIPTED,
    zoneout=ZONEOUT,
    native=native.lstm,
    triton=_triton,
    serial_gates=4,
    onednn=True,
    onnx=True,
)


class LSTM(RecurrentLayer):
    """Long short-term memory, torch.nn.LSTM's twin: gates i, f, g, o, two biases; equations in `reference.py`.

    With a `proj_size` P the state is h = W_hr (tanh(c) ⊙ o) [B, P]: `weight_hr_l0` [P, H], `weight_hh_l0` [4H, P], and
    an h_0 of width P; equations and loops are in `kernels/cells/projected_lstm/`.

    Arguments and errors are those of `RecurrentLayer`.
    """

    num_states = 2
    has_projection = True
    torch_layer = nn.LSTM

    @property
    def cell(self) -> Cell:  # type: ignore[override]  # elsewhere an attribute of the class
        """The cell, with a projection or without."""
        return PROJECTED_CELL if self.proj_size else LSTM_CELL

    @property
    def cell_options(self) -> tuple[Any, ...]:  # type: ignore[override]
        """The function of the LSTM's candidate."""
        return () if self.proj_size else ("tanh",)

    def shapes(self, input_size: int) -> Shapes:
        """Return torch.nn.LSTM's parameters."""
        H, P = self.hidden_size, self.proj_size
        shapes = gate_shapes(input_size, H, 4, self.bias)
        return {**shapes, "weight_hh": (4 * H, P), "weight_hr": (P, H)} if P else shapes
