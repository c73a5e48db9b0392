"""A cell as an operator: what the TorchScript and the Triton implementations share."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor

from kernels.cell import Given
from kernels.dtypes import accumulation_dtype, compute_dtype, lower
from kernels.operator import Grads, Named, Results, recurrent_operator
from kernels.reference import Step, run_steps


class FusedCell(ABC):
    """A cell with hand-written forward and backward passes; creating one registers its operator.

    The operator returns all values of the first state [T, B, H], the last valid value of every state [B, H], and
    whatever the backward pass needs. It casts nothing: products are in the dtype of weight_hh.
    """

    name: ClassVar[str]  # of the operator, "peephole::<name>"
    # Names as in `Cell.weights`; "?" marks those that may be None. The first three are weight_ih, weight_hh and the
    # bias of the input projection; any others are cast to the accumulation dtype.
    weights: ClassVar[tuple[str, ...]] = ("weight_ih", "weight_hh", "bias?")
    options: ClassVar[tuple[str, ...]] = ()  # type and name of each, such as "str candidate"
    flags: ClassVar[tuple[str, ...]] = ()  # fields of `Given` that the operator takes behind the options
    states: ClassVar[tuple[str, ...]] = ("h_0",)  # names of the initial states, in the order of `Given.states`
    # For each of `states`, whether it is stored in the dtype of the products; otherwise in the accumulation dtype.
    low_states: ClassVar[tuple[bool, ...]] = (False,)
    has_zoneout: ClassVar[bool] = False  # whether the operator takes `Given.zoneout`, a tensor for each state
    step: ClassVar[Step]  # the equations of a step, as in `Cell.step`

    def __init__(self) -> None:
        if len(self.low_states) != len(self.states):
            raise TypeError(f"{type(self).__name__}.low_states must have one value for each of {self.states}")
        tensors = ("inputs", "embedding?", *self.weights, *self.states, "lengths?", "resets?", *self.zoneout_names())
        arguments = [f"Tensor{'?' * name.endswith('?')} {name.removesuffix('?')}" for name in tensors]
        arguments += [*self.options, *(f"bool {flag}" for flag in self.flags)]
        self.operator = recurrent_operator(
            f"peephole::{self.name}",
            f"({', '.join(arguments)}) -> ({', '.join(['Tensor'] * self.count_results())})",
            forward=self.forward,
            fake=self.fake,
            backward=self.backward,
            reference=self.reference,
        )

    def zoneout_names(self) -> tuple[str, ...]:
        """Return the names of the tensors of `Given.zoneout`."""
        return tuple(f"zoneout_{name}" for name in self.states) if self.has_zoneout else ()

    def product_dtype(self, weight: Tensor) -> torch.dtype:
        """Return the dtype of the products with a weight."""
        return compute_dtype(weight)

    def run(self, given: Given) -> Results:
        """Cast the tensors to the dtypes of the products and of the sums, and run the operator."""
        weight_ih, weight_hh, bias, *others = given.weights
        low = self.product_dtype(weight_hh)
        high = accumulation_dtype(low)
        inputs, embedding, weight_ih, bias = lower(given.inputs, given.embedding, weight_ih, bias, low)
        others = [None if tensor is None else tensor.to(high) for tensor in others]
        states = [
            state.to(low if is_low else high) for state, is_low in zip(given.states, self.low_states, strict=True)
        ]
        return self.operator(
            inputs, embedding, weight_ih, weight_hh.to(low), bias, *others, *states, given.lengths, given.resets,
            *given.zoneout, *given.options, *(getattr(given, flag) for flag in self.flags),
        )  # fmt: skip

    def reference(self, tensors: Named, options: Named) -> Results:
        """Return the first results in differentiable operations."""
        return self.run_reference(tensors, options, tuple(tensors[name] for name in self.states))

    def run_reference(self, tensors: Named, options: Named, state: tuple[Tensor, ...]) -> Results:
        """Run the equations from a state, step by step."""
        weight_ih, weight_hh, bias, *others = (tensors[name.removesuffix("?")] for name in self.weights)
        own = list(options.values())[: len(self.options)]  # without the flags
        arguments, step = (weight_hh, *others, *own), type(self).step
        return run_steps(
            lambda projected, before: step(projected, before, *arguments),
            tensors["inputs"], tensors["embedding"], (weight_ih, bias), state, tensors["lengths"],
            tensors["resets"], tuple(tensors[name] for name in self.zoneout_names()),
        )  # fmt: skip

    @abstractmethod
    def count_results(self) -> int:
        """Return the number of the operator's results."""

    @abstractmethod
    def forward(self, tensors: Named, options: Named) -> Results:
        """Return the results."""

    @abstractmethod
    def fake(self, tensors: Named, options: Named) -> Results:
        """Return empty tensors like the results."""

    @abstractmethod
    def backward(
        self, grads: Grads, results: list[Tensor], tensors: Named, options: Named, wanted: Mapping[str, bool]
    ) -> dict[str, Tensor | None]:
        """Return the gradients of the tensors by name."""
