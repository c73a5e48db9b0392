"""A cell: its equations, its implementations, and what the backends need to know about it."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from torch import Tensor

from kernels.operator import Results
from kernels.reference import Step

if TYPE_CHECKING:
    from kernels.scripted.cell import ScriptedCell


class Given(NamedTuple):
    """What a layer passes to an implementation of its cell, for one layer and direction."""

    inputs: Tensor  # vectors [T, B, I], or tokens [T, B] where an embedding is given
    embedding: Tensor | None  # vectors of the tokens [V, I]
    weights: tuple[Any, ...]  # the tensors that `Cell.weights` names, None for one that the layer lacks
    states: tuple[Tensor, ...]  # before the first step [B, H]
    lengths: Tensor | None  # valid steps of each row [B], None for T; outputs after the last valid one are not used
    resets: Tensor | None = None  # marks the steps that a row enters with states of zero [T, B]
    options: tuple[Any, ...] = ()  # of the cell, such as the function of its candidate
    keep: bool = True  # whether to keep the gates for the backward pass, rather than compute them again there
    last_only: bool = False  # whether only the last states are wanted, so that the first result may be empty
    zoneout: tuple[Tensor, ...] = ()  # for each state how much of it stays as it was [T, B, H]; see `zoneout.draw`


Implementation = Callable[[Given], Results]


class Cell(NamedTuple):
    """A cell and its implementations.

    An implementation returns all outputs [T, B, H] and the last valid value of every state [B, H]; further results are
    ignored.

    Args:
        name: of the cell.
        weights: names of its weights: the input weight, the recurrent weight, the bias of the input projection, then
            any others. "bias" stands for the sum of a layer's bias_ih and bias_hh where it has these two.
        step: the equations of a step in differentiable operations: step(projected, state, *weights, *options), where
            `projected` is W x + b [B, G] and `weights` begin with the recurrent one; returns the states after it.
        scripted: the TorchScript loops.
        native: torch's own operator, where torch has the same equations.
        triton: the GPU kernels; the function imports triton when it is called. A cell with `zoneout` has it here, too.
        triton_checked: whether these have run on a GPU; "auto" takes no others.
        serial_gates: number of gates whose recurrent product is inside the loop; the Triton backend plans by it.
        whole_rows: whether the GPU kernels sum over all units of a row, so that one program must have them all.
        onednn: whether oneDNN has the cell, so that the native operator on a CPU is oneDNN's.
        onnx: whether ONNX has an operator with these equations; see `kernels/onnx.py`.
        zoneout: the TorchScript loops with zoneout; None if it is not offered.
    """

    name: str
    weights: tuple[str, ...] = ()
    step: Step | None = None
    scripted: "ScriptedCell | None" = None
    native: Implementation | None = None
    triton: Implementation | None = None
    triton_checked: bool = True
    serial_gates: int = 1
    whole_rows: bool = False
    onednn: bool = False
    onnx: bool = False
    zoneout: "ScriptedCell | None" = None

    def with_zoneout(self) -> "Cell":
        """Return the cell with zoneout, which torch's own operators lack, and no GPU has run the kernels with."""
        return self._replace(
            name=f"{self.name} with zoneout", scripted=self.zoneout, native=None, triton_checked=False, onednn=False,
            onnx=False,
        )  # fmt: skip

    def implementation(self, backend: str) -> Implementation:
        """Return the function of a backend that the cell has."""
        scripted = None if self.scripted is None else self.scripted.run
        found = {"torchscript": scripted, "native": self.native, "triton": self.triton}[backend]
        assert found is not None
        return found

    def tensors(self, weights: dict[str, Tensor]) -> tuple[Any, ...]:
        """Return the weights from the parameters of one layer and direction."""
        if "bias_ih" in weights and "bias" in self.weights:
            weights = weights | {"bias": weights["bias_ih"] + weights["bias_hh"]}
        return tuple(weights.get(name) for name in self.weights)
