"""The GRU: the layer."""

import torch

from kernels import native
from kernels.cell import Cell, Given, Results
from kernels.cells.gru.reference import gru_step
from kernels.cells.gru.scripted import SCRIPTED
from kernels.dispatch import Backend
from kernels.layer import RecurrentLayer, Shapes, gate_shapes, refuse_projection


def _triton(given: Given) -> Results:
    from kernels.cells.gru.triton import TRITON

    return TRITON.run(given)


GRU_CELL = Cell(
    name="gru",
    weights=("weight_ih", "weight_hh", "bias_ih", "bias_hh"),
    step=gru_step,
    scripted=SCRIPTED.run,
    native=native.gru,
    triton=_triton,
    serial_gates=3,
)


class GRU(RecurrentLayer):
    """Gated recurrent unit, torch.nn.GRU's twin: gates r, z, n, two biases; equations in `reference.py`.

    The arguments are those of `RecurrentLayer`, and `proj_size`, which must be 0.

    Raises:
        ValueError: as in `RecurrentLayer`, and if `proj_size` is not 0.
    """

    cell = GRU_CELL
    mode = "GRU"  # torch.nn's name of the equations

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
        refuse_projection(proj_size)
        super().__init__(
            input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional, device, dtype,
            backend=backend, recompute=recompute,
        )  # fmt: skip

    def shapes(self, input_size: int) -> Shapes:
        """Return torch.nn.GRU's parameters."""
        return gate_shapes(input_size, self.hidden_size, 3, self.bias)

    def result_dtype(self, given: torch.dtype) -> torch.dtype:
        """Return what torch.nn.GRU returns: on a CPU, unlike LSTM and RNN, the vectors' dtype under autocast."""
        return given if self._stored.device.type == "cpu" else super().result_dtype(given)
