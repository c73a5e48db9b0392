"""Chunks of steps, and what is done for all steps of a chunk at once: resets, zoneout, recurrent products.

The loops run over a chunk of steps at a time, about a thousand rows: what a chunk reads and writes stays in the cache,
and it has enough rows for fast GEMMs. After the backward loop its gate gradients go into the weights' gradients, so
that those of all steps [T, B, G] are never stored.

Legend: B batch, T time, H hidden, G gates · H, k steps of a chunk.
"""

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from kernels.scripted.memory import workspace
from kernels.scripted.script import Starts, add_product

CHUNK_ROWS = 1024


def chunk_steps(T: int, B: int) -> int:
    """Return the number of steps of a chunk."""
    return max(1, min(T, CHUNK_ROWS // max(1, B)))


def chunks(T: int, B: int) -> list[tuple[int, int]]:
    """Return the chunks of T steps: first step, and the step after the last."""
    k = chunk_steps(T, B)
    return [(t, min(t + k, T)) for t in range(0, T, k)]


class Resets:
    """Where rows start anew, a chunk at a time. There are few of them, so loops touch only these rows.

    Args:
        resets: marks the steps that a row enters with states of zero [T, B], or None.
    """

    def __init__(self, resets: Tensor | None) -> None:
        self.steps: list[int] = []  # the step of every mark, in order
        if resets is None:
            return
        self.B, self.places = resets.shape[1], resets.flatten().nonzero().squeeze(1)
        self.steps = [place // self.B for place in self.places.tolist()]

    def chunk(self, t: int, end: int) -> tuple[Starts, Tensor | None]:
        """Return `resets` and `reset_places` of the chunk of steps t … end − 1, as in `ForwardChunk`."""
        first, last = bisect_left(self.steps, t), bisect_left(self.steps, end)
        if first == last:
            return Starts([], []), None
        counts = Counter(self.steps[first:last])  # in the order of the steps
        pieces = [-1] * (end - t)
        for piece, step in enumerate(counts):
            pieces[step - t] = piece
        places = self.places[first:last] - t * self.B
        return Starts(pieces, list((places % self.B).split(list(counts.values())))), places


class Zoneout:
    """How much of each state stays as it was, a chunk at a time.

    Args:
        stays: for each state [T, B, H], as `kernels.zoneout.draw` returns it; none without zoneout.
        like: for each state a tensor of the dtype that the loop takes.
    """

    def __init__(self, stays: list[Tensor], like: list[Tensor]) -> None:
        self.stays = stays
        self.buffers = [
            workspace(each, chunk_steps(*whole.shape[:2]), *whole.shape[1:])
            for whole, each in zip(stays, like, strict=False)
        ]

    def chunk(self, t: int, end: int) -> list[Tensor]:
        """Return `zoneout` of the chunk of steps t … end − 1, as in `ForwardChunk`."""
        pairs = zip(self.buffers, self.stays, strict=True)
        return [buffer[: end - t].copy_(whole[t:end]) for buffer, whole in pairs]


def add_recurrent(
    gates: Tensor, t: int, states: Tensor, first: Tensor, weight_t: Tensor, places: Tensor | None
) -> None:
    """Add W h(t − 1) to the gates [k, B, G] of steps t … t + k − 1; `states` [T, B, H], `first` [B, H] before them.

    Where a row starts anew, h(t − 1) is 0; `places` are as in `ForwardChunk.reset_places`.
    """
    rows = gates.flatten(0, 1)
    kept = None if places is None else rows[places]
    for target, before in pairs(gates, t, states, first):
        add_product(target, before.to(weight_t.dtype), weight_t)
    if places is not None and kept is not None:
        rows[places] = kept


def collect_recurrent(grad_weight: Tensor, t: int, grad_gates: Tensor, states: Tensor, first: Tensor) -> None:
    """Add Σ_t δ(t)ᵀ h(t − 1) over a chunk to `grad_weight` [G, H]; δ are `grad_gates`, the rest as above."""
    for grad, before in pairs(grad_gates, t, states, first):
        add_product(grad_weight, grad.T, before.to(grad.dtype))


def pairs(gates: Tensor, t: int, states: Tensor, first: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield a chunk's gates [k B, G] with the states before them [k B, H]; the first step of all stands apart."""
    if t == 0:
        yield gates[0], first
        gates, t = gates[1:], 1
    if len(gates):
        yield gates.flatten(0, 1), states[t - 1 : t - 1 + len(gates)].flatten(0, 1)


def scale_rows(weight: Any, factor: float, rows: slice) -> Any:
    """Return a weight [G, …] or bias [G] with some rows multiplied by `factor`; None for None."""
    if weight is None or factor == 1.0:
        return weight
    copy = weight.clone(memory_format=torch.contiguous_format)
    copy[rows] *= factor
    return copy
