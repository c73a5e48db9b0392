"""The LSTM: the layer."""

import torch

from kernels import native
from kernels.cell import Cell, Given, Results
from kernels.cells.lstm.reference import lstm_step
from kernels.cells.lstm.scripted import SCRIPTED
from kernels.dispatch import Backend
from kernels.layer import RecurrentLayer, Shapes, gate_shapes


def _triton(given: Given) -> Results:
    from kernels.cells.lstm.triton import TRITON

    return TRITON.run(given)


LSTM_CELL = Cell(
    name="lstm",
    weights=("weight_ih", "weight_hh", "bias", "weight_peephole"),
    step=lstm_step,
    scripted=SCRIPTED.run,
    native=native.lstm,
    triton=_triton,
    serial_gates=4,
)


class LSTM(RecurrentLayer):
    """Long short-term memory, torch.nn.LSTM's twin: gates i, f, g, o, two biases; equations in `reference.py`.

    The arguments are those of `RecurrentLayer`, but for `proj_size`, which must be 0: torch.nn.LSTM can shrink its
    state by a further matrix.

    Raises:
        ValueError: as in `RecurrentLayer`, and if `proj_size` is neither 0 nor below `hidden_size`.
        NotImplementedError: if `proj_size` is not 0.
    """

    num_states = 2
    cell = LSTM_CELL
    cell_options = ("tanh",)
    mode = "LSTM"  # torch.nn's name of the equations

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        proj_size: int = 0,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        *,
        backend: Backend = "auto",
        recompute: bool = False,
    ) -> None:
        if proj_size < 0 or proj_size >= hidden_size > 0:
            raise ValueError(f"LSTM: proj_size must be 0, or below hidden_size, got {proj_size}")
        if proj_size:
            raise NotImplementedError(f"LSTM: proj_size={proj_size} is not offered; put a Linear behind the layer")
        super().__init__(
            input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional, device, dtype,
            backend=backend, recompute=recompute,
        )  # fmt: skip

    def shapes(self, input_size: int) -> Shapes:
        """Return torch.nn.LSTM's parameters."""
        return gate_shapes(input_size, self.hidden_size, 4, self.bias)
