"""The LSTM with a projected state: the cell. The layer is the LSTM's."""

from kernels import native
from kernels.cell import Cell, Given, Results
from kernels.cells.projected_lstm.reference import projected_lstm_step
from kernels.cells.projected_lstm.scripted import SCRIPTED


def _triton(given: Given) -> Results:
    from kernels.cells.projected_lstm.triton import TRITON

    return TRITON.run(given)


PROJECTED_CELL = Cell(
    name="projected_lstm",
    weights=("weight_ih", "weight_hh", "bias", "weight_hr"),
    step=projected_lstm_step,
    scripted=SCRIPTED,
    native=native.projected_lstm,
    triton=_triton,
    triton_checked=False,
    serial_gates=4,
)
