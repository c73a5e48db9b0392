"""The host code of a Triton cell: its operator around the two time loops."""

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, NamedTuple

from torch import Tensor

from kernels.cell import Results
from kernels.fused import FusedCell
from kernels.operator import Grads, Named
from kernels.triton.bulk import input_gradients, last_gradient, project, recurrent_gradient, states_before
from kernels.triton.launch import Factors, launch, round_to_tf32
from kernels.triton.loops import backward_kernel, forward_kernel
from kernels.triton.plan import Plan, device_limits, make_plan, weight_bytes


class Equations(NamedTuple):
    """The equations of a cell for the time loops. The functions are Triton's; loops.py has their signatures.

    Args:
        forward: the states after a step.
        activate: what `differentiate` needs, computed while other programs are still writing their results.
        differentiate: the gradients of the gates, and of the states before the step.
        gates: gates of the input projection.
        recurrent: gates with a recurrent product, in groups of 1, 2 or 4 that are multiplied together.
        saved_gates: gates before their functions, which the backward pass reads.
        grad_gates: gates of which the backward pass stores gradients.
        first: the first of these that has a recurrent product.
    """

    forward: Any
    activate: Any
    differentiate: Any
    gates: int
    recurrent: tuple[int, ...]
    saved_gates: int
    grad_gates: int
    first: int = 0

    def run_forward(
        self, weight: Tensor, projection: tuple[Tensor, Tensor | None], vectors: tuple[Tensor, ...],
        lengths: Tensor | None, initial: tuple[Tensor, ...], option: bool,
    ) -> tuple[Tensor, ...]:  # fmt: skip
        """Return the states of all steps [T, B, H].

        Args:
            weight: recurrent weight [G, H].
            projection: as `bulk.project` returns it.
            vectors: further parameters [H].
            lengths: valid steps of each row [B].
            initial: states before the first step [B, H].
            option: the cell's choice of a function.
        """
        projected, tokens = projection
        (B, H), T = initial[0].shape, len(projected if tokens is None else tokens)
        states = tuple(state.new_empty(T, B, H) for state in initial)
        if B == 0:
            return states
        plan, factor_states = self.plan(weight, B, reverse=False), None
        if plan.precision == "tf32" and plan.resident_blocks == 0:
            weight = round_to_tf32(weight)  # once, not in every step
        if plan.programs > 1 and (initial[0].dtype != weight.dtype or plan.precision == "tf32"):
            factor_states = weight.new_empty(T + 1, B, H)
            factor_states[0] = round_to_tf32(initial[0]) if plan.precision == "tf32" else initial[0]
        launch(
            forward_kernel, plan, T, B, (weight, factor_states, projected, tokens, vectors, lengths, initial),
            (states,), EQUATIONS=self.forward, GATES=self.gates, OPTION=option, FACTORS=self.factors(H, reverse=False),
        )  # fmt: skip
        return states

    def run_backward(
        self, weight: Tensor, gates: tuple[Tensor, Tensor | None], vectors: tuple[Tensor, ...],
        lengths: Tensor | None, saved: tuple[Tensor, Tensor], grad_outputs: tuple[Tensor | None, ...],
        grad_gates: Tensor, grad_states: tuple[Tensor, ...], option: bool,
    ) -> None:  # fmt: skip
        """Fill `grad_gates` and take `grad_states` back to before the first step; arguments as of `backward_kernel`.

        Args:
            weight: recurrent weight [G, H].
            gates: those before their functions [T, B, G], and one more [T, B, H].
            vectors: further parameters [H].
            lengths: valid steps of each row [B].
            saved: the state that the equations need, before the first step [B, H] and in all steps [T, B, H].
            grad_outputs: gradients of the first state in all steps [T, B, H], to be added.
            grad_gates: gradients of the gates [T + 1, B, G].
            grad_states: gradients of the last states [B, H].
            option: the cell's choice of a function.
        """
        T, B, H = saved[1].shape
        grad_gates[T] = 0
        if B == 0:
            return
        plan, weight = self.plan(weight, B, reverse=True), weight.T
        if plan.precision == "tf32" and plan.resident_blocks == 0:
            weight = round_to_tf32(weight)
        added = tuple(grad for grad in grad_outputs if grad is not None)
        launch(
            backward_kernel, plan, T, B, (weight, *gates, vectors, lengths, *saved, added), (grad_gates, grad_states),
            reverse=True, ACTIVATE=self.activate, EQUATIONS=self.differentiate, GATES=self.saved_gates,
            GRAD_GATES=self.grad_gates, OPTION=option, FACTORS=self.factors(H, reverse=True),
        )  # fmt: skip

    def plan(self, weight: Tensor, B: int, reverse: bool) -> Plan:
        """Return how to divide a pass."""
        gates, size, limits = sum(self.recurrent), weight_bytes(weight.dtype), device_limits(weight.device)
        return make_plan(gates, weight.shape[1], B, size, reverse, limits, min(self.recurrent))

    def factors(self, H: int, reverse: bool) -> tuple[Factors, ...]:
        """Return the recurrent products of a step."""
        found, total, done = [], sum(self.recurrent), 0
        for gates in self.recurrent:
            if reverse:
                found.append(Factors(gates, 1, (self.first + done) * H, self.grad_gates * H, done * H, total * H))
            else:
                found.append(Factors(1, gates, 0, H, done * H * H, H))
            done += gates
        return tuple(found)


class TritonCell(FusedCell):
    """A cell whose recurrent product is of its first state, which is also its output.

    Attributes:
        equations: those of the loops.
    """

    equations: ClassVar[Equations]

    def count_results(self) -> int:
        """Count outputs, last states and all values of the other states."""
        return 2 * len(self.states)

    def fake(self, tensors: Named, options: Named) -> Results:
        """Return empty tensors like the results."""
        T, initial = len(tensors["inputs"]), [tensors[name] for name in self.states]
        whole = [state.new_empty(T, *state.shape) for state in initial]
        return whole[0], *(state.new_empty(state.shape) for state in initial), *whole[1:]

    def forward(self, tensors: Named, options: Named) -> Results:
        """Return the first state of all steps [T, B, H], all last states [B, H], and the other states of all steps."""
        states = self.equations.run_forward(
            tensors["weight_hh"], project(tensors), self.vectors(tensors), tensors["lengths"],
            tuple(tensors[name] for name in self.states), self.option(options),
        )  # fmt: skip
        return states[0], *(state[-1].clone() for state in states), *states[1:]

    def backward(
        self, grads: Grads, results: list[Tensor], tensors: Named, options: Named, wanted: Mapping[str, bool]
    ) -> dict[str, Any]:
        """Return the gradients of the tensors by name, and of the gates as "gates" [T, B, G]."""
        weight, hidden, count = tensors["weight_hh"], results[0], len(self.states)
        (T, B, H), last = hidden.shape, self.states[-1]
        h_before = states_before(hidden, tensors["h_0"], weight.dtype)
        grad_gates = weight.new_empty(T + 1, B, self.equations.grad_gates * H)
        grad_states = tuple(last_gradient(grad, hidden) for grad in grads[1 : count + 1])
        self.equations.run_backward(
            weight, self.gates(tensors, hidden, h_before), self.vectors(tensors), tensors["lengths"],
            (tensors[last], results[0 if count == 1 else -1]), (grads[0],), grad_gates, grad_states,
            self.option(options),
        )  # fmt: skip
        grad_gates = grad_gates[:T]
        recurrent = grad_gates[..., self.equations.first * H :]
        found = {
            **dict(zip(self.states, grad_states, strict=True)),
            **input_gradients(grad_gates[..., : len(tensors["weight_ih"])], tensors, wanted["inputs"]),
            "weight_hh": recurrent_gradient(recurrent, h_before),
            "gates": grad_gates,
        }
        if wanted["h_0"]:
            found["h_0"] = found["h_0"] + recurrent[0] @ weight
        return found

    def vectors(self, tensors: Named) -> tuple[Tensor, ...]:
        """Return further parameters [H]."""
        return ()

    def option(self, options: Named) -> bool:
        """Return whether the cell's function is tanh."""
        return "tanh" in options.values()

    @abstractmethod
    def gates(self, tensors: Named, hidden: Tensor, h_before: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return the gates of all steps before their functions [T, B, G], and one more [T, B, H] if the cell has it.

        Args:
            tensors: those of the operator.
            hidden: the first state of all steps [T, B, H].
            h_before: the states before each step [T, B, H].
        """
