"""Elman's network: the layer."""

from typing import Literal

import torch

from kernels import native
from kernels.cell import Cell, Given, Results
from kernels.cells.rnn.reference import rnn_step
from kernels.cells.rnn.scripted import SCRIPTED
from kernels.dispatch import Backend
from kernels.layer import RecurrentLayer, Shapes, gate_shapes, refuse_projection


def _triton(given: Given) -> Results:
    from kernels.cells.rnn.triton import TRITON

    return TRITON.run(given)


RNN_CELL = Cell(
    name="rnn",
    weights=("weight_ih", "weight_hh", "bias"),
    step=rnn_step,
    scripted=SCRIPTED.run,
    native=native.rnn,
    triton=_triton,
)


class RNN(RecurrentLayer):
    """Elman's network, h = tanh(W_ih x + b_ih + W_hh h′ + b_hh), or relu; torch.nn.RNN's twin.

    Args:
        input_size: width I of an input vector.
        hidden_size: width H of the state.
        num_layers: number of stacked layers L.
        nonlinearity: "tanh" or "relu".
        bias: whether there are biases; like the rest, as in `RecurrentLayer`.
        batch_first: whether batched input and output are [B, T, …].
        dropout: probability of dropping between layers.
        bidirectional: whether a second network reads from the end.
        proj_size: must be 0; torch.nn.RNN has this argument, too.
        device: device of the weights.
        dtype: dtype of the weights.
        backend: "auto" or a name.
        recompute: makes no difference: this cell keeps nothing but its states anyway.

    Raises:
        ValueError: as in `RecurrentLayer`, if the nonlinearity is neither, and if `proj_size` is not 0.
    """

    cell = RNN_CELL

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        nonlinearity: Literal["tanh", "relu"] = "tanh",
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
        if nonlinearity not in ("tanh", "relu"):
            raise ValueError(f"RNN: Unknown nonlinearity {nonlinearity!r}; it must be 'tanh' or 'relu'")
        refuse_projection(proj_size)
        self.nonlinearity = nonlinearity
        self.cell_options = (nonlinearity,)
        super().__init__(
            input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional, device, dtype,
            backend=backend, recompute=recompute,
        )  # fmt: skip

    @property
    def mode(self) -> str:
        """torch.nn's name of the equations."""
        return f"RNN_{self.nonlinearity.upper()}"

    def shapes(self, input_size: int) -> Shapes:
        """Return torch.nn.RNN's parameters."""
        return gate_shapes(input_size, self.hidden_size, 1, self.bias)

    def extra_repr(self) -> str:
        """Return the arguments that differ from the defaults."""
        return super().extra_repr() + (f", nonlinearity={self.nonlinearity!r}" if self.nonlinearity != "tanh" else "")
