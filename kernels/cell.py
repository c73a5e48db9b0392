"""A cell: what a layer hands to its implementations, and what backends need to know about it, said once."""

from collections.abc import Callable
from typing import Any, NamedTuple

from torch import Tensor

from kernels.reference import Step, run_steps

Results = tuple[Tensor, ...]


class Given(NamedTuple):
    """What a layer hands to an implementation of its cell, for one layer and direction.

    Args:
        inputs: vectors [T, B, I], or tokens [T, B] where an embedding is given.
        embedding: vectors of the tokens [V, I], or None.
        weights: the tensors that `Cell.weights` names, None for one that the layer lacks.
        states: those before the first step [B, H].
        lengths: number of valid steps of each row [B], None for T. A row's state stays as it is after its last one.
        options: of the cell, such as the function of its candidate.
        keep: whether to keep the gates for the backward pass, rather than to compute them anew there.
        last_only: whether only the last states are wanted, so that the first result may be empty.
    """

    inputs: Tensor
    embedding: Tensor | None
    weights: tuple[Any, ...]
    states: tuple[Tensor, ...]
    lengths: Tensor | None
    options: tuple[Any, ...] = ()
    keep: bool = True
    last_only: bool = False


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
        triton: the GPU kernels; the function imports triton when it is called.
        serial_gates: number of gates whose recurrent product is inside the loop; the Triton backend plans by it.
    """

    name: str
    weights: tuple[str, ...]
    step: Step
    scripted: Implementation | None = None
    native: Implementation | None = None
    triton: Implementation | None = None
    serial_gates: int = 1

    def reference(self, given: Given) -> Results:
        """Run the equations step by step, under autograd."""
        weight_ih, weight_hh, bias, *others = given.weights
        return run_steps(
            self.step, given.inputs, given.embedding, (weight_ih, bias), (weight_hh, *others, *given.options),
            given.states, given.lengths,
        )  # fmt: skip

    def implementation(self, backend: str) -> Implementation:
        """Return the function of a backend that the cell has."""
        found = {
            "reference": self.reference, "torchscript": self.scripted, "native": self.native, "triton": self.triton
        }[backend]  # fmt: skip
        assert found is not None, f"{self.name} has no {backend} backend"
        return found

    def tensors(self, weights: dict[str, Tensor]) -> tuple[Tensor | None, ...]:
        """Return the weights from the parameters of one layer and direction."""
        if "bias_ih" in weights and "bias" in self.weights:
            weights = weights | {"bias": weights["bias_ih"] + weights["bias_hh"]}
        return tuple(weights.get(name) for name in self.weights)
