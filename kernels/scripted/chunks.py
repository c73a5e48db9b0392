"""What surrounds the time loops: the work that is done for many steps at once, in GEMMs.

The loops run over a chunk of steps at a time, about a thousand rows: what a chunk reads and writes stays in
the cache, and it has rows enough for fast GEMMs. Before its loop a chunk gets the inputs' share of its gates; after the
backward loop its gate gradients go into the weights' gradients, so that those of all steps [T, B, G] are never stored.

Legend: B batch, T time, I input, H hidden, G gates · H, V vocabulary, k steps of a chunk.
"""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import linear

from kernels.layout import selected_rows
from kernels.scripted.memory import workspace
from kernels.scripted.script import add_product

CHUNK_ROWS = 1024


def chunks(T: int, B: int) -> list[tuple[int, int]]:
    """Return the chunks of T steps: first step, and the step after the last."""
    k = chunk_steps(T, B)
    return [(t, min(t + k, T)) for t in range(0, T, k)]


def chunk_steps(T: int, B: int) -> int:
    """Return the number of steps of a chunk."""
    return max(1, min(T, CHUNK_ROWS // max(1, B)))


class Projection:
    """The inputs' share of the gates, W x + b, written a chunk at a time, and its gradients, collected likewise.

    For tokens, embedding, weight and bias make a table of V rows; taking rows from it replaces the GEMM over all steps,
    and the gradient is a sum over equal tokens.

    Args:
        inputs: vectors [T, B, I], or tokens [T, B] where an embedding is given.
        embedding: [V, I] or None.
        weight: [G, I].
        bias: [G] or None.
    """

    def __init__(self, inputs: Tensor, embedding: Tensor | None, weight: Tensor, bias: Tensor | None) -> None:
        self.inputs, self.embedding, self.weight = inputs.contiguous(), embedding, weight
        self.bias = None if bias is None else bias.to(weight.dtype)
        self.weight_t = weight.T.contiguous()
        self.table = None if embedding is None else linear(embedding, weight, self.bias)

    def write(self, t: int, gates: Tensor) -> None:
        """Write the share of steps t … t + k − 1 into `gates` [k, B, G]."""
        k = len(gates)
        own = self.weight if self.table is None else self.table
        out = gates.flatten(0, 1) if gates.dtype == own.dtype else None
        if self.table is not None:
            rows = torch.index_select(self.table, 0, self.inputs[t : t + k].flatten(), out=out)
        elif self.bias is None:
            rows = torch.mm(self.inputs[t : t + k].flatten(0, 1), self.weight_t, out=out)
        else:
            rows = torch.addmm(self.bias, self.inputs[t : t + k].flatten(0, 1), self.weight_t, out=out)
        if out is None:
            gates.copy_(rows.view_as(gates))

    def start_gradients(self, weight: Tensor, dtype: torch.dtype, inputs_wanted: bool) -> None:
        """Set the gradients to zero.

        Args:
            weight: [G, I], which takes the gradient of the gates back to the inputs.
            dtype: of the sums.
            inputs_wanted: whether vectors need a gradient.
        """
        self.weight = weight
        self.grad_inputs = workspace(self.inputs, *self.inputs.shape) if inputs_wanted and self.table is None else None
        self.grad_weight = torch.zeros_like(weight, dtype=dtype)
        self.grad_bias = torch.zeros_like(weight[:, 0], dtype=dtype)
        self.grad_table: Tensor | None = None

    def collect(self, t: int, rows: Tensor, rows_low: Tensor) -> None:
        """Add the gradient of the gates before their σ in steps t … t + k − 1.

        Args:
            t: first step.
            rows: the gradient in the dtype of the sums, [k, B, G] or wider; what is beyond G is left out.
            rows_low: the same in the dtype of the products.
        """
        k, G = len(rows), len(self.weight)
        if self.table is not None:
            tokens, flat = self.inputs[t : t + k].flatten(), rows.flatten(0, 1)
            if self.grad_table is None:  # as wide as the rows: sums of parts of rows are slow
                self.grad_table = flat.new_zeros(len(self.table), flat.shape[1])
            if tokens.device.type == "cpu":
                self.grad_table.index_add_(0, tokens, flat)
            else:  # scattered sums are in no fixed order there
                one_hot = tokens == torch.arange(len(self.table), device=tokens.device)[:, None]  # [V, k B]
                add_product(self.grad_table, one_hot.to(rows_low.dtype), rows_low.flatten(0, 1))
        else:
            flat = rows_low[..., :G].flatten(0, 1)
            add_product(self.grad_weight, flat.T, self.inputs[t : t + k].flatten(0, 1))
            if self.bias is not None:
                self.grad_bias += rows[..., :G].sum((0, 1))
            if self.grad_inputs is not None:
                torch.mm(flat, self.weight, out=self.grad_inputs[t : t + k].flatten(0, 1))

    def gradients(self) -> tuple[Tensor | None, Tensor | None, Tensor, Tensor]:
        """Return the gradients of inputs, embedding, weight and bias."""
        if self.grad_table is None or self.embedding is None:
            return self.grad_inputs, None, self.grad_weight, self.grad_bias
        table, dtype = self.grad_table[:, : len(self.weight)], self.grad_table.dtype
        embedding = selected_rows(self.embedding, self.inputs).to(dtype)
        return None, table @ self.weight.to(dtype), table.T @ embedding, table.sum(0)


def add_recurrent(gates: Tensor, t: int, states: Tensor, first: Tensor, weight_t: Tensor) -> None:
    """Add W h(t − 1) to the gates [k, B, G] of steps t … t + k − 1; `states` [T, B, H], `first` [B, H] before them."""
    for target, before in _pairs(gates, t, states, first):
        add_product(target, before.to(weight_t.dtype), weight_t)


def collect_recurrent(grad_weight: Tensor, t: int, rows: Tensor, states: Tensor, first: Tensor) -> None:
    """Add Σ_t rows(t)ᵀ h(t − 1) over a chunk to `grad_weight` [G, H]; arguments as of `add_recurrent`."""
    for gradient, before in _pairs(rows, t, states, first):
        add_product(grad_weight, gradient.T, before.to(gradient.dtype))


def _pairs(rows: Tensor, t: int, states: Tensor, first: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield a chunk's rows [k B, G] with the states before them [k B, H]; the first step of all stands apart."""
    if t == 0:
        yield rows[0], first
        rows, t = rows[1:], 1
    if len(rows):
        yield rows.flatten(0, 1), states[t - 1 : t - 1 + len(rows)].flatten(0, 1)


def keep_gates(kept: list[Tensor], gates: list[Tensor], candidate: int, H: int, factor: float) -> None:
    """Write a chunk's gates into their 16-bit copies, the candidate factor · (s − ½) in the place of its s.

    A candidate near zero keeps its precision this way; s, which is then near ½, would not. `gates` are overwritten.

    Args:
        kept: where they go, a list of [k, B, ·].
        gates: the same in the dtype of the sums.
        candidate: which block of H columns of the first buffer holds the candidate.
        H: units.
        factor: −2 or 2 for a tanh; 1 for a logistic, which is s itself.
    """
    if factor != 1.0:
        gates[0][..., candidate * H : (candidate + 1) * H].sub_(0.5).mul_(factor)
    for copy, gate in zip(kept, gates, strict=True):
        copy.copy_(gate)


def kept_gates(gates: list[Tensor], kept: list[Tensor], candidate: int, H: int, factor: float) -> None:
    """Undo `keep_gates`: write a chunk's gates from their 16-bit copies."""
    for gate, copy in zip(gates, kept, strict=True):
        gate.copy_(copy)
    if factor != 1.0:
        gates[0][..., candidate * H : (candidate + 1) * H].div_(factor).add_(0.5)


def scale_rows(weight: Any, factor: float, first: int, end: int) -> Any:
    """Return a copy of a weight [G, …] or bias [G] with rows first … end − 1 multiplied by `factor`; None for None."""
    if weight is None:
        return None
    copy = weight.clone(memory_format=torch.contiguous_format)
    copy[first:end] *= factor
    return copy
