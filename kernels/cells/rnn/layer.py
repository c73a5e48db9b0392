"""Elman's network: the layer."""

from typing import Any, Literal

from torch import nn

from kernels import native
from kernels.cell import Cell, Given, Results
from kernels.cells.rnn.reference import rnn_step
from kernels.cells.rnn.scripted import SCRIPTED, ZONEOUT
from kernels.layer import RecurrentLayer, Shapes, gate_shapes


def _triton(given: Given) -> Results:
    from kernels.cells.rnn.triton import TRITON, ZONEOUT

    return (ZONEOUT if given.zoneout else TRITON).run(given)


RNN_CELL = Cell(
    name="rnn",
    weights=("weight_ih", "weight_hh", "bias"),
    step=rnn_step,
    scripted=SCRIPTED,
    zoneout=ZONEOUT,
    native=native.rnn,
    triton=_triton,
    onnx=True,
)


class RNN(RecurrentLayer):
    """Elman's network, h = tanh(W_ih x + b_ih + W_hh h′ + b_hh), or relu; torch.nn.RNN's twin.

    Args:
        input_size: width I of an input vector.
        hidden_size: width H of the state.
        num_layers: number of stacked layers L.
        nonlinearity: "tanh" or "relu".
        *arguments: `bias` and the rest, as in `RecurrentLayer`. Without zoneout only states
            are kept, and `recompute` makes no difference.
        **options: as in `RecurrentLayer`.

    Raises:
        ValueError: as in `RecurrentLayer`, and if the nonlinearity is unknown.
    """

    cell = RNN_CELL
    torch_layer = nn.RNN

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        nonlinearity: Literal["tanh", "relu"] = "tanh",
        *arguments: Any,
        **options: Any,
    ) -> None:
        if nonlinearity not in ("tanh", "relu"):
            raise ValueError(f"RNN: Unknown nonlinearity {nonlinearity!r}; it must be 'tanh' or 'relu'")
        self.nonlinearity = nonlinearity
        self.cell_options = (nonlinearity,)
        super().__init__(input_size, hidden_size, num_layers, *arguments, **options)

    def shapes(self, input_size: int) -> Shapes:
        """Return torch.nn.RNN's parameters."""
        return gate_shapes(input_size, self.hidden_size, 1, self.bias)

    def extra_repr(self) -> str:
        """Return the arguments that differ from the defaults."""
        return super().extra_repr() + (f", nonlinearity={self.nonlinearity!r}" if self.nonlinearity != "tanh" else "")
