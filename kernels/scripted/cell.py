"""A cell with scripted loops, as its author describes it; `driver.py` runs it.

A cell describes its own part in a `ScriptedCell`: two loops over the steps of a chunk and the widths of their buffers.

Legend: B batch, T time, I input, H hidden, G gates · H, k steps of a chunk.
"""

from collections.abc import Callable, Mapping
from typing import ClassVar

import torch
from torch import Tensor

from kernels.dtypes import accumulation_dtype, scripted_dtype
from kernels.fused import FusedCell
from kernels.operator import Grads, Named, Results
from kernels.scripted import driver
from kernels.scripted.chunks import collect_recurrent, scale_rows
from kernels.scripted.script import BackwardChunk, Folded, ForwardChunk


class ScriptedCell(FusedCell):
    """A cell that the driver runs: two scripted loops, and what the driver needs to know about them.

    All widths are in units of H.
    """

    flags = ("keep",)
    # Widths of the buffers that the forward loop fills and the backward loop reads. The first holds the input
    # projection before the loop, so an LSTM has (4,), a GRU (3, 1).
    gates: ClassVar[tuple[int, ...]] = (1,)
    keeps_gates: ClassVar[bool] = True  # whether the backward loop reads the gates at all
    activated: ClassVar[int] = 0  # index of the buffer that holds the gates after their functions
    # Index of the candidate among the blocks of H rows of the weights, and of H columns of that buffer. Its
    # weights are multiplied by `factor`; `keep_gates` says how it is stored in 16 bits.
    candidate: ClassVar[int] = 0
    # Width of the buffer that the backward loop fills. Its first columns are the gradient of the input projection.
    grad_gates: ClassVar[int] = 1
    # First block and end of its columns that are the gradient of the recurrent product; None for all.
    recurrent_blocks: ClassVar[tuple[int, int] | None] = None
    # Number of buffers [B, H] that the forward loop overwrites, beside the recurrent product's.
    forward_scratch: ClassVar[int] = 0
    backward_scratch: ClassVar[int] = 0  # the same of the backward loop
    # Whether the loops support the `resets` of their chunks, by `entering` and `stop_gradient`.
    has_resets: ClassVar[bool] = False
    # Whether the operator also returns the first state before the last valid step.
    returns_before_last: ClassVar[bool] = False
    forward_loop: ClassVar[Callable[..., None]]  # scripted, takes a `ForwardChunk`
    backward_loop: ClassVar[Callable[..., None]]  # scripted, takes a `BackwardChunk`

    def product_dtype(self, weight: Tensor) -> torch.dtype:
        """Return the dtype of the products with a weight; on some CPUs it is not the one asked for."""
        return scripted_dtype(weight)

    def factor(self, options: Named) -> float:
        """Return the number by which the candidate's weights are multiplied for the forward loop."""
        return 1.0

    def gradient_factor(self, options: Named) -> float:
        """Return the gradient of the candidate's W x + b + W h′ divided by what the backward loop fills for it.

        The candidate's weights are multiplied by it for the backward loop.
        """
        return 1.0

    def fold(self, tensors: Named, factor: float) -> Folded:
        """Return the weights as the loops take them, the candidate's multiplied by `factor`."""
        weight_ih, weight_hh, bias, *others = (tensors[name.removesuffix("?")] for name in self.weights)
        extra = [tensor for tensor in others if tensor is not None]
        return self._scale(Folded(weight_ih, bias, weight_hh, extra), tensors[self.states[-1]].shape[1], factor)

    def unfold(self, gradients: Folded, H: int, factor: float) -> dict[str, Tensor | None]:
        """Return the gradients of the tensors by name; the inverse of `fold` for gradients."""
        weight_ih, bias, weight_hh, extra = self._scale(gradients, H, factor)
        names = (name.removesuffix("?") for name in self.weights)
        return dict(zip(names, (weight_ih, weight_hh, bias, *extra), strict=False))

    def _scale(self, weights: Folded, H: int, factor: float) -> Folded:
        weight_ih, bias, weight_hh = (scale_rows(weight, factor, self.candidate_rows(H)) for weight in weights[:3])
        return Folded(weight_ih, bias, weight_hh, weights.extra)

    def candidate_rows(self, H: int) -> slice:
        """Return the rows of the candidate in the weights, which are its columns in the buffer `activated`."""
        return slice(self.candidate * H, self.candidate * H + H)

    def rebuild(self, chunk: ForwardChunk, t: int, states: list[Tensor], initial: list[Tensor]) -> None:
        """Compute the gates of the chunk that begins at step t again, from all states [T, B, H] and the initial ones.

        By default the forward loop runs again; a cell may compute all steps at once.
        """
        self.forward_loop(chunk._replace(states=[torch.empty_like(state) for state in chunk.states]))

    def collect_recurrent(
        self, total: Tensor, t: int, grads: Tensor, states: list[Tensor], initial: list[Tensor]
    ) -> None:
        """Add the part of the chunk that begins at step t to the gradient of `Folded.weight_hh`, `total`.

        `grads` is the gradient of the recurrent product [k, B, R], zero where a row starts anew; states and initial
        ones are as in `rebuild`. A cell whose recurrent weight is not one matrix on its first state overrides this.
        """
        collect_recurrent(total, t, grads, states[0], initial[0])

    def extra_gradients(self, chunk: BackwardChunk) -> list[Tensor]:
        """Return the gradients of `Folded.extra` from one chunk, after its backward loop; none if that adds them."""
        return []

    def count_results(self) -> int:
        """Count outputs, last states, the state before the last, all values of other states, and kept gates."""
        return 2 * len(self.states) + int(self.returns_before_last) + (len(self.gates) if self.keeps_gates else 0)

    def sizes(self, tensors: Named) -> tuple[int, int, int, Tensor, Tensor]:
        """Return T, B, H, and an empty tensor of the dtype of the products and of the sums."""
        low = tensors["weight_hh"].new_empty(0)
        high = low.new_empty(0, dtype=accumulation_dtype(low.dtype))
        T, B = tensors["inputs"].shape[:2]
        return T, B, tensors[self.states[-1]].shape[1], low, high

    def fake(self, tensors: Named, options: Named) -> Results:
        """Return empty tensors like the results."""
        T, B, H, low, high = self.sizes(tensors)
        like = [
            (low if is_low else high).new_empty(T, *tensors[name].shape)
            for name, is_low in zip(self.states, self.low_states, strict=True)
        ]
        kept = T if options["keep"] else 0
        return (
            like[0],
            *(torch.empty_like(each[0]) for each in like),
            *([torch.empty_like(like[0][0])] if self.returns_before_last else []),
            *like[1:],
            *([low.new_empty(kept, B, width * H) for width in self.gates] if self.keeps_gates else []),
        )

    def forward(self, tensors: Named, options: Named) -> Results:
        """Run the forward loop over all chunks of steps."""
        return driver.run_forward(self, tensors, options)

    def backward(
        self, grads: Grads, results: list[Tensor], tensors: Named, options: Named, wanted: Mapping[str, bool]
    ) -> dict[str, Tensor | None]:
        """Run the backward loop over all chunks of steps, from the last to the first."""
        return driver.run_backward(self, grads, results, tensors, options, wanted)
