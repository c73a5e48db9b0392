"""The work around the time loops that is done for many steps at once, in GEMMs.

The loops run over a chunk of steps at a time, about a thousand rows: what a chunk reads and writes stays in the cache,
and it has enough rows for fast GEMMs. Before its loop a chunk gets the input projection. After the backward loop its
gate gradients go into the weights' gradients, so that those of all steps [T, B, G] are never stored.

Legend: B batch, T time, I input, H hidden, G gates · H, V vocabulary, k steps of a chunk.
"""

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import linear

from kernels.layout import selected_rows
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


class Projection:
    """The input projection W x + b, written a chunk at a time, and its gradients, collected a chunk at a time.

    For tokens, embedding, weight and bias make a table of V rows. Taking rows from it replaces the GEMM over all steps,
    and the gradient is a sum over equal tokens. Arguments are as in `kernels.reference.project`.
    """

    def __init__(self, inputs: Tensor, embedding: Tensor | None, weight: Tensor, bias: Tensor | None) -> None:
        self.inputs, self.embedding, self.weight = inputs.contiguous(), embedding, weight
        self.bias = None if bias is None else bias.to(weight.dtype)
        self.weight_t = weight.T.contiguous()
        self.table = None if embedding is None else linear(embedding, weight, self.bias)

    def write(self, t: int, gates: Tensor) -> None:
        """Write the projection of steps t … t + k − 1 into `gates` [k, B, G]."""
        inputs = self.inputs[t : t + len(gates)].flatten(0, 1)
        source = self.weight if self.table is None else self.table
        out = gates.flatten(0, 1) if gates.dtype == source.dtype else None
        if self.table is not None:
            projected = torch.index_select(self.table, 0, inputs, out=out)
        elif self.bias is None:
            projected = torch.mm(inputs, self.weight_t, out=out)
        else:
            projected = torch.addmm(self.bias, inputs, self.weight_t, out=out)
        if out is None:
            gates.copy_(projected.view_as(gates))

    def start_gradients(self, weight: Tensor, dtype: torch.dtype, inputs_wanted: bool) -> None:
        """Set the gradients to zero, in the dtype of the sums; `weight` [G, I] takes gradients back to the inputs."""
        self.weight = weight
        self.grad_inputs = workspace(self.inputs, *self.inputs.shape) if inputs_wanted and self.table is None else None
        self.grad_weight = torch.zeros_like(weight, dtype=dtype)
        self.grad_bias = torch.zeros_like(weight[:, 0], dtype=dtype)
        self.grad_table: Tensor | None = None

    def collect(self, t: int, grad_gates: Tensor, grad_gates_low: Tensor) -> None:
        """Add the gradients of steps t … t + k − 1, given those of the gates [k, B, G] in the dtype of the sums.

        `grad_gates_low` is the same in the dtype of the products. Both may be wider; columns from G on are left out.
        """
        inputs, G = self.inputs[t : t + len(grad_gates)].flatten(0, 1), len(self.weight)
        if self.table is None:
            low = grad_gates_low[..., :G].flatten(0, 1)
            add_product(self.grad_weight, low.T, inputs)
            if self.bias is not None:
                self.grad_bias += grad_gates[..., :G].sum((0, 1))
            if self.grad_inputs is not None:
                torch.mm(low, self.weight, out=self.grad_inputs[t : t + len(grad_gates)].flatten(0, 1))
            return
        flat = grad_gates.flatten(0, 1)
        if self.grad_table is None:  # as wide as grad_gates: sums of parts of rows are slow
            self.grad_table = flat.new_zeros(len(self.table), flat.shape[1])
        if inputs.device.type == "cpu":
            self.grad_table.index_add_(0, inputs, flat)
        else:  # scattered sums are in no fixed order there
            one_hot = inputs == torch.arange(len(self.table), device=inputs.device)[:, None]  # [V, k B]
            add_product(self.grad_table, one_hot.to(grad_gates_low.dtype), grad_gates_low.flatten(0, 1))

    def gradients(self) -> tuple[Tensor | None, Tensor | None, Tensor, Tensor]:
        """Return the gradients of inputs, embedding, weight and bias."""
        if self.grad_table is None or self.embedding is None:
            return self.grad_inputs, None, self.grad_weight, self.grad_bias
        table, dtype = self.grad_table[:, : len(self.weight)], self.grad_table.dtype
        embedding = selected_rows(self.embedding, self.inputs).to(dtype)
        return None, table @ self.weight.to(dtype), table.T @ embedding, table.sum(0)


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


def keep_gates(kept: list[Tensor], gates: list[Tensor], activated: int, candidate: slice, factor: float) -> None:
    """Write a chunk's gates [k, B, ·] into their 16-bit copies; `gates` are overwritten.

    The candidate's s, columns `candidate` of the buffer with the index `activated`, is stored as factor · (s − ½), with
    the factor −2 or 2 for a tanh, and as itself for a logistic. So a tanh near zero keeps its precision; s, near ½,
    would lose it.
    """
    if factor != 1.0:
        gates[activated][..., candidate].sub_(0.5).mul_(factor)
    for copy, gate in zip(kept, gates, strict=True):
        copy.copy_(gate)


def kept_gates(gates: list[Tensor], kept: list[Tensor], activated: int, candidate: slice, factor: float) -> None:
    """Undo `keep_gates`: write a chunk's gates from their 16-bit copies."""
    for gate, copy in zip(gates, kept, strict=True):
        gate.copy_(copy)
    if factor != 1.0:
        gates[activated][..., candidate].div_(factor).add_(0.5)


def scale_rows(weight: Any, factor: float, rows: slice) -> Any:
    """Return a weight [G, …] or bias [G] with some rows multiplied by `factor`; None for None."""
    if weight is None or factor == 1.0:
        return weight
    copy = weight.clone(memory_format=torch.contiguous_format)
    copy[rows] *= factor
    return copy
