"""The host code of a Triton cell: its operator around the two time loops."""

from collections.abc import Mapping
from typing import Any, ClassVar, NamedTuple

from torch import Tensor

from kernels.fused import FusedCell
from kernels.operator import Grads, Named, Results
from kernels.triton import bulk
from kernels.triton.bulk import (
    add_recurrent,
    first_product,
    kernel_resets,
    kernel_zoneout,
    last_gradient,
    project,
    project_all,
    recurrent_gradient,
    states_before,
)
from kernels.triton.launch import Factors, launch, round_to_tf32
from kernels.triton.loops import backward_kernel, forward_kernel
from kernels.triton.plan import Plan, device_limits, make_plan, weight_bytes


class Equations(NamedTuple):
    """The equations of a cell for the time loops. The functions are Triton's; loops.py has their signatures."""

    forward: Any  # the states after a step
    activate: Any  # what `differentiate` needs, computed while other programs are still writing their results
    differentiate: Any  # the gradients of the gates, and of the states before the step
    gates: int  # gates of the input projection
    recurrent: tuple[int, ...]  # gates with a recurrent product, in groups of 1, 2 or 4 that are multiplied together
    grad_gates: int  # gates of which the backward pass stores gradients
    first: int = 0  # the first of these that has a recurrent product
    option: str = "tanh"  # the value of the cell's option for which the functions get OPTION true

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
    """A cell whose recurrent product is of its first state, which is also its output."""

    equations: ClassVar[Equations]
    states_read: ClassVar[int] = 1  # number of states, the last ones, that the equations of the backward pass read
    whole_rows: ClassVar[bool] = False  # whether the equations sum over all units, so that a program must have them all

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
        states = self.run_forward(tensors, options, tensors["weight_hh"], self.projection(tensors))
        return states[0], *(state[-1].clone() for state in states), *states[1:]

    def run_forward(
        self, tensors: Named, options: Named, weight: Tensor, projection: tuple[Tensor, Tensor | None]
    ) -> tuple[Tensor, ...]:
        """Return the states of all steps [T, B, H], with a recurrent weight [G, H] and the result of `projection`."""
        initial = tuple(tensors[name] for name in self.states)
        T, (B, H) = len(tensors["inputs"]), initial[0].shape
        states = tuple(state.new_empty(T, B, H) for state in initial)
        if B == 0:
            return states
        plan, factor_states = self._plan(weight, B, reverse=False), None
        if plan.precision == "tf32" and plan.resident_blocks == 0:
            weight = round_to_tf32(weight)  # once, not in every step
        from_memory = plan.programs > 1 or plan.resident_blocks == 0  # where `multiply` reads the state
        if from_memory and (initial[0].dtype != weight.dtype or plan.precision == "tf32"):
            factor_states = weight.new_empty(T + 1, B, H)
            factor_states[0] = round_to_tf32(initial[0]) if plan.precision == "tf32" else initial[0]
        arguments = (weight, factor_states, *projection, self.vectors(tensors), *self._marks(tensors), initial)
        launch(
            forward_kernel, plan, T, B, arguments, (states,), STEP=self.equations.forward, GATES=self.equations.gates,
            OPTION=self.equations.option in options.values(), FACTORS=self.equations.factors(H, reverse=False),
        )  # fmt: skip
        return states

    def backward(
        self, grads: Grads, results: list[Tensor], tensors: Named, options: Named, wanted: Mapping[str, bool]
    ) -> dict[str, Any]:
        """Return the gradients of the tensors by name, and of the gates as "gates" [T, B, G]."""
        weight, hidden, count = tensors["weight_hh"], results[0], len(self.states)
        T, B, H = hidden.shape
        h_before = states_before(hidden, tensors["h_0"], weight.dtype, tensors["resets"])
        grad_gates = weight.new_empty(T + 1, B, self.equations.grad_gates * H)
        grad_states = tuple(last_gradient(grad, hidden) for grad in grads[1 : count + 1])
        gates, read = self.gates(tensors, hidden, h_before), (results[0], *results[count + 1 :])[-self.states_read :]
        self.run_backward(tensors, options, weight, gates, read, (grads[0],), grad_gates, grad_states)
        grad_gates = grad_gates[:T]
        first = self.equations.first
        recurrent = grad_gates[..., first * H : (first + sum(self.equations.recurrent)) * H]
        found = {
            **dict(zip(self.states, grad_states, strict=True)),
            **self.input_gradients(grad_gates, tensors, wanted["inputs"]),
            "weight_hh": recurrent_gradient(recurrent, h_before),
            "gates": grad_gates,
        }
        if wanted["h_0"]:
            found["h_0"] = found["h_0"] + first_product(recurrent[0] @ weight, tensors["resets"])
        return found

    def run_backward(
        self, tensors: Named, options: Named, weight: Tensor, gates: tuple[Tensor, Tensor | None],
        states: tuple[Tensor, ...], grad_outputs: tuple[Tensor | None, ...], grad_gates: Tensor,
        grad_states: tuple[Tensor, ...],
    ) -> None:  # fmt: skip
        """Fill `grad_gates`, and take `grad_states` back to before the first step.

        The arguments are those of `backward_kernel`: `gates` are its `gates` and `extra`, `states` those of the last
        `states_read` of the cell's states. The recurrent weight [G, H] is not transposed.
        """
        T, B, H = states[0].shape
        grad_gates[T] = 0
        if B == 0:
            return
        plan, weight = self._plan(weight, B, reverse=True), weight.T
        if plan.precision == "tf32" and plan.resident_blocks == 0:
            weight = round_to_tf32(weight)
        added = tuple(grad for grad in grad_outputs if grad is not None)
        initial = tuple(tensors[name] for name in self.states[-self.states_read :])
        launch(
            backward_kernel, plan, T, B,
            (weight, *gates, self.vectors(tensors), *self._marks(tensors), initial, states, added),
            (grad_gates, grad_states), reverse=True, ACTIVATE=self.equations.activate,
            DIFFERENTIATE=self.equations.differentiate, GATES=gates[0].shape[2] // H,
            GRAD_GATES=self.equations.grad_gates, OPTION=self.equations.option in options.values(),
            FACTORS=self.equations.factors(H, reverse=True),
        )  # fmt: skip

    def _marks(self, tensors: Named) -> tuple[Tensor | None, Tensor | None, tuple[Tensor, ...]]:
        """Return lengths, resets and zoneout as the time loops take them."""
        zoneout = tuple(kernel_zoneout(tensors[name]) for name in self.zoneout_names())
        return tensors["lengths"], kernel_resets(tensors["resets"]), zoneout

    def _plan(self, weight: Tensor, B: int, reverse: bool) -> Plan:
        recurrent, size = self.equations.recurrent, weight_bytes(weight.dtype)
        limits = device_limits(weight.device)
        return make_plan(sum(recurrent), weight.shape[1], B, size, reverse, limits, min(recurrent), self.whole_rows)

    def projection(self, tensors: Named) -> tuple[Tensor, Tensor | None]:
        """Return what the gates get from the inputs, and the tokens that select its rows or None; see `project`."""
        return project(tensors)

    def vectors(self, tensors: Named) -> tuple[Tensor, ...]:
        """Return further parameters [H]."""
        return ()

    def gates(self, tensors: Named, hidden: Tensor, h_before: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return the gates of all steps before their functions [T, B, G], and one more [T, B, H] if the cell has it.

        `hidden` is the first state after each step [T, B, H], `h_before` before each step. By default W x + b + R h′.
        """
        gates = project_all(tensors, tensors["weight_hh"].dtype)
        add_recurrent(gates, h_before, tensors["weight_hh"])
        return gates, None

    def input_gradients(self, grad_gates: Tensor, tensors: Named, wanted: bool) -> dict[str, Any]:
        """Return the gradients of inputs, if `wanted`, embedding, weight_ih and bias by name.

        `grad_gates` is what the backward kernel has stored [T, B, grad_gates · H].
        """
        return bulk.input_gradients(grad_gates[..., : len(tensors["weight_ih"])], tensors, wanted)
