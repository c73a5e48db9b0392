"""The driver of all cells with scripted loops: chunks of steps, forward and backward.

A cell describes its own part in a `ScriptedCell`: two loops over the steps of a chunk and the widths of their buffers.
The driver does the rest: the input projection or the token table, gates kept or rebuilt for the backward pass, 16-bit
copies, variable lengths, the rows that start anew inside a sequence, and the gradients of the weights, by one GEMM a
chunk.

With variable lengths the loops run on after a row's end, and nothing that they compute there is used: the last states
are read at the last valid step, and their gradients enter there. After it all gradients are zero.

Legend: B batch, T time, I input, H hidden, G gates · H, V vocabulary, k steps of a chunk.
"""

from collections.abc import Callable, Mapping
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from kernels.dtypes import accumulation_dtype, scripted_dtype
from kernels.fused import FusedCell
from kernels.layout import last_rows, padding_after, rows_before_last, spread_last
from kernels.operator import Grads, Named, Results
from kernels.scripted.chunks import (
    Projection,
    Resets,
    Zoneout,
    chunk_steps,
    chunks,
    collect_recurrent,
    keep_gates,
    kept_gates,
    scale_rows,
)
from kernels.scripted.memory import workspace
from kernels.scripted.script import BackwardChunk, ForwardChunk


class Folded(NamedTuple):
    """A cell's weights in the form that its loops take, or the gradients of such weights."""

    weight_ih: Tensor  # of the input projection [G, I]
    bias: Tensor | None  # of the input projection [G]
    weight_hh: Tensor  # of the recurrent product [R, H]
    extra: list[Tensor]  # further tensors that the loops read, such as peepholes


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
        T, B, H, low, high = self.sizes(tensors)
        lengths, initial, factor = tensors["lengths"], [tensors[name] for name in self.states], self.factor(options)
        folded = self.fold(tensors, factor)
        if len(folded.weight_ih) != self.gates[0] * H:
            width = len(folded.weight_ih) / H
            raise ValueError(f"{type(self).__name__}.gates must begin with {width:g}, the gates that weight_ih has")
        projection = Projection(tensors["inputs"], tensors["embedding"], folded.weight_ih, folded.bias)
        weights, scratch = [folded.weight_hh.mT.contiguous(), *folded.extra], self.scratch(folded, (B, H), high)
        states = [
            workspace(low if is_low else high, T, *first.shape)
            for first, is_low in zip(initial, self.low_states, strict=True)
        ]
        keep, k = options["keep"] and self.keeps_gates, chunk_steps(T, B)
        kept = [workspace(low, T if keep else 0, B, width * H) for width in self.gates] if self.keeps_gates else []
        in_place = keep and low.dtype == high.dtype  # the loop works on the kept gates themselves
        buffers = [workspace(high, 0 if in_place else k, B, width * H) for width in self.gates]
        ended, before, candidate = padding_after(lengths, T), initial, self.candidate_rows(H)
        resets = Resets(tensors["resets"])
        zoneout = Zoneout([tensors[name] for name in self.zoneout_names()], states)
        for t, end in chunks(T, B):
            gates = [each[t:end] for each in kept] if in_place else [each[: end - t] for each in buffers]
            own = [state[t:end] for state in states]
            projection.write(t, gates[0])
            own_ended = None if ended is None else ended[t:end]
            starting = (*resets.chunk(t, end), zoneout.chunk(t, end))
            self.forward_loop(ForwardChunk(gates, own, before, weights, factor, own_ended, *starting, scratch))
            if keep and not in_place:
                keep_gates([each[t:end] for each in kept], gates, self.activated, candidate, factor)
            before = [state[end - 1] for state in states]
        last = [last_rows(state, lengths) for state in states]
        if self.returns_before_last:
            last.append(rows_before_last(states[0], initial[0], lengths).clone())
        return states[0], *last, *states[1:], *kept

    def scratch(self, folded: Folded, sizes: tuple[int, int], high: Tensor) -> list[Tensor]:
        """Return the buffers that the forward loop overwrites."""
        (B, H), weight = sizes, folded.weight_hh
        product = weight.new_empty(B, weight.numel() // weight.shape[-1])
        return [product, *(high.new_empty(B, H) for _ in range(self.forward_scratch))]

    def backward(
        self, grads: Grads, results: list[Tensor], tensors: Named, options: Named, wanted: Mapping[str, bool]
    ) -> dict[str, Tensor | None]:
        """Run the backward loop over all chunks of steps, from the last to the first."""
        T, B, H, low, high = self.sizes(tensors)
        lengths, initial, factor = tensors["lengths"], [tensors[name] for name in self.states], self.factor(options)
        count, first_kept = len(self.states), 2 * len(self.states) + int(self.returns_before_last)
        states, kept = [results[0], *results[first_kept - count + 1 : first_kept]], results[first_kept:]
        keep, k = len(kept) > 0 and len(kept[0]) > 0, chunk_steps(T, B)
        rebuilds, in_place = self.keeps_gates and not keep, keep and low.dtype == high.dtype
        gradient_factor = self.gradient_factor(options)
        folded = self.fold(tensors, gradient_factor)
        again = self.fold(tensors, factor) if rebuilds and factor != gradient_factor else folded
        projection = Projection(tensors["inputs"], tensors["embedding"], again.weight_ih, again.bias)
        projection.start_gradients(folded.weight_ih, high.dtype, wanted["inputs"])
        forward_weights = [again.weight_hh.mT, *again.extra]
        scratch_again = self.scratch(again, (B, H), high) if rebuilds else []
        ended = padding_after(lengths, T) if rebuilds else None
        weights, resets = [folded.weight_hh, *folded.extra], Resets(tensors["resets"])
        grad_weight_hh = torch.zeros_like(folded.weight_hh, dtype=high.dtype)
        grad_extra = [torch.zeros_like(tensor, dtype=high.dtype) for tensor in folded.extra]
        incoming = _Incoming(self, grads, initial, T, lengths, high)
        zoneout = Zoneout([tensors[name] for name in self.zoneout_names()], incoming.grad_states)
        widths = self.gates if self.keeps_gates else ()
        buffers = [workspace(high, 0 if in_place else k, B, width * H) for width in widths]
        grad_gates = [workspace(high, k, B, self.grad_gates * H)]
        grad_gates.append(grad_gates[0] if low.dtype == high.dtype else workspace(low, k, B, self.grad_gates * H))
        scratch = [low.new_empty(B, H), *(high.new_empty(B, H) for _ in range(self.backward_scratch))]
        (first, end_block), candidate = self.recurrent_blocks or (0, self.grad_gates), self.candidate_rows(H)
        for t, end in reversed(chunks(T, B)):
            gates = [each[t:end] for each in kept] if in_place else [each[: end - t] for each in buffers]
            own, before = [state[t:end] for state in states], [state[t - 1] for state in states] if t else initial
            starting = (*resets.chunk(t, end), zoneout.chunk(t, end))
            if rebuilds:
                projection.write(t, gates[0])
                own_ended = None if ended is None else ended[t:end]
                rebuilt = ForwardChunk(gates, own, before, forward_weights, factor, own_ended, *starting, scratch_again)
                self.rebuild(rebuilt, t, states, initial)
            elif gates and not in_place:
                kept_gates(gates, [each[t:end] for each in kept], self.activated, candidate, factor)
            pair = [each[: end - t] for each in grad_gates]
            chunk = BackwardChunk(
                incoming.chunk(t, end), own, before, gates, weights, factor, *starting, pair, incoming.grad_states,
                scratch, grad_extra,
            )  # fmt: skip
            self.backward_loop(chunk)
            projection.collect(t, *pair)
            if grad_extra and (added := self.extra_gradients(chunk)):
                torch._foreach_add_(grad_extra, added)
            recurrent = pair[1][..., first * H : end_block * H]
            if chunk.reset_places is not None:  # the recurrent product is of a zero there
                recurrent.flatten(0, 1).index_fill_(0, chunk.reset_places, 0.0)
            self.collect_recurrent(grad_weight_hh, t, recurrent, states, initial)
        grad_inputs, grad_embedding, grad_weight_ih, grad_bias = projection.gradients()
        gradients = Folded(grad_weight_ih, grad_bias, grad_weight_hh, grad_extra)
        return {
            "inputs": grad_inputs,
            "embedding": grad_embedding,
            **self.unfold(gradients, H, gradient_factor),
            **dict(zip(self.states, incoming.initial(), strict=True)),
        }


class _Incoming:
    """The gradients that reach the states from outside, and those that the backward loop carries along."""

    def __init__(
        self, cell: ScriptedCell, grads: Grads, initial: list[Tensor], T: int, lengths: Tensor | None, high: Tensor
    ) -> None:
        count = len(cell.states)
        last = grads[1 : 1 + count]
        self.T = T
        self.before_last = grads[1 + count] if cell.returns_before_last else None
        self.grad_states = [high.new_zeros(state.shape) for state in initial]
        self.stored: list[Tensor | None] = [grads[0], *[None] * (count - 1)]  # [T, B, H]
        self.grad_initial: Tensor | None = None  # of the first state, where a row's first step is its last
        for j, grad in enumerate(last):
            if grad is not None and lengths is None:
                self.grad_states[j] += grad
            elif grad is not None and lengths is not None:
                self.stored[j] = spread_last(self.stored[j], grad, lengths, T, high.dtype)
        if self.before_last is None:
            return
        if lengths is not None:
            one_step = (lengths == 1)[:, None]
            self.grad_initial = self.before_last.masked_fill(~one_step, 0)
            rest, steps = self.before_last.masked_fill(one_step, 0), (lengths - 1).clamp(min=1)
            self.stored[0] = spread_last(self.stored[0], rest, steps, T, high.dtype)
            self.before_last = None
        elif T == 1:
            self.grad_initial, self.before_last = self.before_last, None

    def chunk(self, t: int, end: int) -> list[Tensor | None]:
        """Return the gradients of the states of steps t … end − 1, [k, B, H] or None."""
        own = [None if grad is None else grad[t:end] for grad in self.stored]
        if self.before_last is not None and t <= self.T - 2 < end:
            shape = (end - t, *self.before_last.shape)
            added = self.grad_states[0].new_zeros(shape) if own[0] is None else own[0].clone()
            added[self.T - 2 - t] += self.before_last
            own[0] = added
        return own

    def initial(self) -> list[Tensor]:
        """Return the gradients of the initial states [B, H], once the loop has gone through all chunks."""
        if self.grad_initial is not None:
            self.grad_states[0] += self.grad_initial
        return self.grad_states
