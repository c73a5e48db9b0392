"""The peephole LSTMs, full and diagonal: the layer."""

from typing import Literal

import torch

from kernels.cell import Cell, Given, Results
from kernels.cells.lstm.layer import LSTM_CELL
from kernels.cells.peephole_lstm.reference import peephole_step
from kernels.cells.peephole_lstm.scripted import peephole_lstm
from kernels.dispatch import Backend
from kernels.layer import RecurrentLayer, Shapes, gate_shapes


def _triton(given: Given) -> Results:
    from kernels.cells.peephole_lstm.triton import TRITON

    return TRITON.run(given)


FULL_CELL = Cell(
    name="peephole_lstm",
    weights=("weight_ih", "weight_ch", "bias"),
    step=peephole_step,
    scripted=peephole_lstm,
    triton=_triton,
    serial_gates=2,
)
DIAGONAL_CELL = LSTM_CELL._replace(name="diagonal_peephole_lstm", native=None)


class PeepholeLSTM(RecurrentLayer):
    """LSTM whose gates see the cell; equations in `reference.py`.

    "full": the study's variant, with full matrices on the previous cell and no state in any gate. Parameters
    `weight_ih_l0` [4H, I] and `bias_l0` [4H], gates i, f, g, o, and `weight_ch_l0` [3H, H], gates i, f, o. An h_0 is
    accepted and unused.

    "diagonal": Gers, Schraudolph & Schmidhuber (2002): torch.nn.LSTM's parameters and `weight_peephole_l0` [3, H],
    gates i, f, o. With zeros there it is the LSTM.

    Args:
        input_size: width I of an input vector.
        hidden_size: width H of the state.
        num_layers: number of stacked layers L.
        bias: whether the gates have biases; like the rest, as in `RecurrentLayer`.
        batch_first: whether batched input and output are [B, T, …].
        dropout: probability of dropping between layers.
        bidirectional: whether a second network reads from the end.
        device: device of the weights.
        dtype: dtype of the weights.
        peephole: "full" or "diagonal".
        candidate: the candidate's function, "sigmoid" or "tanh"; by default the study's sigmoid for full, tanh for
            diagonal.
        backend: "auto" or a name.
        recompute: keep only the states for the backward pass.

    Raises:
        ValueError: as in `RecurrentLayer`, and if `peephole` or `candidate` is none of these.
    """

    num_states = 2

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        *,
        peephole: Literal["full", "diagonal"] = "full",
        candidate: Literal["sigmoid", "tanh"] | None = None,
        backend: Backend = "auto",
        recompute: bool = False,
    ) -> None:
        if peephole not in ("full", "diagonal"):
            raise ValueError(f"PeepholeLSTM: peephole must be 'full' or 'diagonal', got {peephole!r}")
        if candidate not in ("sigmoid", "tanh", None):
            raise ValueError(f"PeepholeLSTM: candidate must be 'sigmoid' or 'tanh', got {candidate!r}")
        self.peephole = peephole
        self.candidate = candidate or ("sigmoid" if peephole == "full" else "tanh")
        self.cell_options = (self.candidate,)
        super().__init__(
            input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional, device, dtype,
            backend=backend, recompute=recompute,
        )  # fmt: skip

    @property
    def cell(self) -> Cell:  # type: ignore[override]  # of a class elsewhere, here of its form
        """The cell of the form."""
        return FULL_CELL if self.peephole == "full" else DIAGONAL_CELL

    def shapes(self, input_size: int) -> Shapes:
        """Return the parameters of either form."""
        H = self.hidden_size
        if self.peephole == "diagonal":
            return {**gate_shapes(input_size, H, 4, self.bias), "weight_peephole": (3, H)}
        bias: Shapes = {"bias": (4 * H,)} if self.bias else {}
        return {"weight_ih": (4 * H, input_size), "weight_ch": (3 * H, H), **bias}

    def extra_repr(self) -> str:
        """Return the arguments that differ from the defaults, and the form."""
        return f"{super().extra_repr()}, peephole={self.peephole!r}, candidate={self.candidate!r}"
