"""The peephole LSTMs, full and diagonal: the layer."""

from typing import Any, Literal

from kernels.cell import Cell, Given, Results
from kernels.cells.lstm.layer import LSTM_CELL
from kernels.cells.peephole_lstm.reference import peephole_step
from kernels.cells.peephole_lstm.scripted import SCRIPTED
from kernels.layer import RecurrentLayer, Shapes, gate_shapes


def _triton(given: Given) -> Results:
    from kernels.cells.peephole_lstm.triton import TRITON

    return TRITON.run(given._replace(states=given.states[1:]))  # no gate sees h_0


FULL_CELL = Cell(
    name="peephole_lstm",
    weights=("weight_ih", "weight_ch", "bias"),
    step=peephole_step,
    scripted=SCRIPTED,
    triton=_triton,
    serial_gates=2,
)
DIAGONAL_CELL = LSTM_CELL._replace(name="diagonal_peephole_lstm", native=None, onednn=False, zoneout=None)


class PeepholeLSTM(RecurrentLayer):
    """LSTM whose gates see the cell.

    "full": full matrices on the previous cell, and no h in any gate; equations in `reference.py`. Parameters
    `weight_ih_l0` [4H, I] and `bias_l0` [4H], gates i, f, g, o, and `weight_ch_l0` [3H, H], gates i, f, o. An h_0 is
    accepted and unused.

    "diagonal": Gers, Schraudolph & Schmidhuber (2002); equations, loops and kernels are those of `kernels/cells/lstm/`.
    Parameters of torch.nn.LSTM and `weight_peephole_l0` [3, H], gates i, f, o. With zeros there it is the LSTM.

    Args:
        input_size: width I of an input vector.
        hidden_size: width H of the state.
        *arguments: as in `RecurrentLayer`.
        peephole: "full" or "diagonal".
        candidate: the candidate's function, "sigmoid" or "tanh"; by default "sigmoid" for full, "tanh" for diagonal.
        **options: as in `RecurrentLayer`.

    Raises:
        ValueError: as in `RecurrentLayer`, and if `peephole` or `candidate` is unknown.
    """

    num_states = 2

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *arguments: Any,
        peephole: Literal["full", "diagonal"] = "full",
        candidate: Literal["sigmoid", "tanh"] | None = None,
        **options: Any,
    ) -> None:
        if peephole not in ("full", "diagonal"):
            raise ValueError(f"PeepholeLSTM: peephole must be 'full' or 'diagonal', got {peephole!r}")
        if candidate not in ("sigmoid", "tanh", None):
            raise ValueError(f"PeepholeLSTM: candidate must be 'sigmoid' or 'tanh', got {candidate!r}")
        self.peephole = peephole
        self.candidate = candidate or ("sigmoid" if peephole == "full" else "tanh")
        self.cell_options = (self.candidate,)
        super().__init__(input_size, hidden_size, *arguments, **options)

    @property
    def cell(self) -> Cell:  # type: ignore[override]  # elsewhere an attribute of the class
        """The cell, full or diagonal."""
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
