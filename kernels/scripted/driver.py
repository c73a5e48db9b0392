"""The driver of all cells with scripted loops: it runs them over chunks of steps, forward and backward.

A cell describes its own part in a `ScriptedCell` (`cell.py`). The driver does the rest: the input projection or the
token table, gates kept or rebuilt for the backward pass, 16-bit copies, variable lengths, the rows that start anew
inside a sequence, and the gradients of the weights, by one GEMM a chunk.

With variable lengths the loops run on after a row's end, and nothing that they compute there is used: the last states
are read at the last valid step, and their gradients enter there. After it all gradients are zero.

Legend: B batch, T time, I input, H hidden, G gates · H, V vocabulary, k steps of a chunk.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from kernels.layout import last_rows, padding_after, rows_before_last, spread_last
from kernels.operator import Grads, Named, Results
from kernels.scripted.chunks import Resets, Zoneout, chunk_steps, chunks
from kernels.scripted.memory import workspace
from kernels.scripted.projection import Projection, ProjectionGradients
from kernels.scripted.script import BackwardChunk, Folded, ForwardChunk, Starts

if TYPE_CHECKING:
    from kernels.scripted.cell import ScriptedCell

Starting = tuple[Starts, Tensor | None, list[Tensor]]  # `resets`, `reset_places` and `zoneout` of a chunk


def run_forward(cell: "ScriptedCell", tensors: Named, options: Named) -> Results:
    """Run the forward loop over all chunks of steps.

    Returns:
        All values of the first state, the last valid value of every state, perhaps the first state before it, all
        values of the other states, and the kept gates.
    """
    T, B, H, low, high = cell.sizes(tensors)
    initial, factor = [tensors[name] for name in cell.states], cell.factor(options)
    states = [
        workspace(low if is_low else high, T, *first.shape)
        for first, is_low in zip(initial, cell.low_states, strict=True)
    ]
    kept_steps, kept_widths = T if options["keep"] else 0, cell.gates if cell.keeps_gates else ()
    kept = [workspace(low, kept_steps, B, width * H) for width in kept_widths]
    inputs, gates = _LoopInputs(cell, tensors, factor), _Gates(cell, cell.gates, tensors, kept, factor)
    resets, zoneout = Resets(tensors["resets"]), Zoneout([tensors[name] for name in cell.zoneout_names()], states)
    before = initial
    for t, end in chunks(T, B):
        starting = (*resets.chunk(t, end), zoneout.chunk(t, end))
        own = [state[t:end] for state in states]
        cell.forward_loop(inputs.chunk(t, end, gates.chunk(t, end), own, before, starting))
        gates.keep(t, end)
        before = [state[end - 1] for state in states]
    last = [last_rows(state, tensors["lengths"]) for state in states]
    if cell.returns_before_last:
        last.append(rows_before_last(states[0], initial[0], tensors["lengths"]).clone())
    return states[0], *last, *states[1:], *kept


def run_backward(
    cell: "ScriptedCell",
    grads: Grads,
    results: list[Tensor],
    tensors: Named,
    options: Named,
    wanted: Mapping[str, bool],
) -> dict[str, Tensor | None]:
    """Run the backward loop over all chunks of steps, from the last to the first.

    Arguments and result are those of `FusedCell.backward`.
    """
    T, B, H, low, high = cell.sizes(tensors)
    initial = [tensors[name] for name in cell.states]
    factor, gradient_factor = cell.factor(options), cell.gradient_factor(options)
    count, first_kept = len(cell.states), 2 * len(cell.states) + int(cell.returns_before_last)
    states, kept = [results[0], *results[first_kept - count + 1 : first_kept]], results[first_kept:]
    gates = _Gates(cell, cell.gates if cell.keeps_gates else (), tensors, kept, factor)
    again = _LoopInputs(cell, tensors, factor) if cell.keeps_gates and not gates.kept else None
    folded, resets = cell.fold(tensors, gradient_factor), Resets(tensors["resets"])
    projection = ProjectionGradients(
        tensors["inputs"], tensors["embedding"], folded.weight_ih, folded.bias is not None, high.dtype, wanted["inputs"]
    )
    grad_weight_hh = torch.zeros_like(folded.weight_hh, dtype=high.dtype)
    grad_extra = [torch.zeros_like(tensor, dtype=high.dtype) for tensor in folded.extra]
    incoming = _Incoming(cell, grads, initial, T, tensors["lengths"], high)
    zoneout = Zoneout([tensors[name] for name in cell.zoneout_names()], incoming.grad_states)
    k, width = chunk_steps(T, B), cell.grad_gates * H
    grad_gates = [workspace(high, k, B, width)]
    grad_gates.append(grad_gates[0] if low.dtype == high.dtype else workspace(low, k, B, width))
    scratch = [low.new_empty(B, H), *(high.new_empty(B, H) for _ in range(cell.backward_scratch))]
    first, end_block = cell.recurrent_blocks or (0, cell.grad_gates)
    for t, end in reversed(chunks(T, B)):
        own, before = [state[t:end] for state in states], [state[t - 1] for state in states] if t else initial
        starting = (*resets.chunk(t, end), zoneout.chunk(t, end))
        if again is not None:
            cell.rebuild(again.chunk(t, end, gates.chunk(t, end), own, before, starting), t, states, initial)
        else:
            gates.load(t, end)
        pair = [each[: end - t] for each in grad_gates]
        chunk = BackwardChunk(
            incoming.chunk(t, end), own, before, gates.chunk(t, end), [folded.weight_hh, *folded.extra], factor,
            *starting, pair, incoming.grad_states, scratch, grad_extra,
        )  # fmt: skip
        cell.backward_loop(chunk)
        projection.collect(t, *pair)
        if grad_extra and (added := cell.extra_gradients(chunk)):
            torch._foreach_add_(grad_extra, added)
        recurrent = pair[1][..., first * H : end_block * H]
        if chunk.reset_places is not None:  # the recurrent product is of a zero there
            recurrent.flatten(0, 1).index_fill_(0, chunk.reset_places, 0.0)
        cell.collect_recurrent(grad_weight_hh, t, recurrent, states, initial)
    grad_inputs, grad_embedding, grad_weight_ih, grad_bias = projection.results()
    gradients = Folded(grad_weight_ih, grad_bias, grad_weight_hh, grad_extra)
    return {
        "inputs": grad_inputs,
        "embedding": grad_embedding,
        **cell.unfold(gradients, H, gradient_factor),
        **dict(zip(cell.states, incoming.initial(), strict=True)),
    }


class _LoopInputs:
    """What the forward loop reads. The backward pass runs it again where the gates were not kept."""

    def __init__(self, cell: "ScriptedCell", tensors: Named, factor: float) -> None:
        T, B, H, _, high = cell.sizes(tensors)
        folded = cell.fold(tensors, factor)
        weight = folded.weight_hh
        if len(folded.weight_ih) != cell.gates[0] * H:
            width = len(folded.weight_ih) / H
            raise ValueError(f"{type(cell).__name__}.gates must begin with {width:g}, the gates that weight_ih has")
        self.projection = Projection(tensors["inputs"], tensors["embedding"], folded.weight_ih, folded.bias)
        self.weights, self.factor = [weight.mT.contiguous(), *folded.extra], factor
        product = weight.new_empty(B, weight.numel() // weight.shape[-1])
        self.scratch = [product, *(high.new_empty(B, H) for _ in range(cell.forward_scratch))]
        self.ended = padding_after(tensors["lengths"], T)

    def chunk(
        self, t: int, end: int, gates: list[Tensor], states: list[Tensor], before: list[Tensor], starting: Starting
    ) -> ForwardChunk:
        """Write the input projection of steps t … end − 1 into the gates, and return their chunk."""
        self.projection.write(t, gates[0])
        ended = None if self.ended is None else self.ended[t:end]
        return ForwardChunk(gates, states, before, self.weights, self.factor, ended, *starting, self.scratch)


class _Gates:
    """The gates of a chunk, and those of all steps that are kept for the backward pass.

    In the dtype of the sums the loops work on the kept gates themselves. In 16 bits they work on buffers, and the
    candidate's s is kept as factor · (s − ½), with the factor −2 or 2 for a tanh, and as itself for a logistic. So a
    tanh near zero keeps its precision; s, near ½, would lose it.
    """

    def __init__(
        self, cell: "ScriptedCell", widths: tuple[int, ...], tensors: Named, kept: list[Tensor], factor: float
    ) -> None:
        T, B, H, low, high = cell.sizes(tensors)
        self.kept = [each for each in kept if len(each)]
        self.in_place = len(self.kept) > 0 and low.dtype == high.dtype
        k = 0 if self.in_place else chunk_steps(T, B)
        self.buffers = [workspace(high, k, B, width * H) for width in widths]
        self.activated, self.candidate, self.factor = cell.activated, cell.candidate_rows(H), factor

    def chunk(self, t: int, end: int) -> list[Tensor]:
        """Return the gates of steps t … end − 1 as the loops take them."""
        return self._kept(t, end) if self.in_place else [buffer[: end - t] for buffer in self.buffers]

    def keep(self, t: int, end: int) -> None:
        """Copy a chunk's gates from the buffers, which are overwritten, if they are to be kept."""
        if self.in_place or not self.kept:
            return
        gates = self.chunk(t, end)
        if self.factor != 1.0:
            gates[self.activated][..., self.candidate].sub_(0.5).mul_(self.factor)
        for copy, gate in zip(self._kept(t, end), gates, strict=True):
            copy.copy_(gate)

    def load(self, t: int, end: int) -> None:
        """Undo `keep`: copy the kept gates of a chunk into the buffers."""
        if self.in_place or not self.kept:
            return
        gates = self.chunk(t, end)
        for gate, copy in zip(gates, self._kept(t, end), strict=True):
            gate.copy_(copy)
        if self.factor != 1.0:
            gates[self.activated][..., self.candidate].div_(self.factor).add_(0.5)

    def _kept(self, t: int, end: int) -> list[Tensor]:
        return [each[t:end] for each in self.kept]


class _Incoming:
    """The gradients that reach the states from outside, and those that the backward loop carries along."""

    def __init__(
        self, cell: "ScriptedCell", grads: Grads, initial: list[Tensor], T: int, lengths: Tensor | None, high: Tensor
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
