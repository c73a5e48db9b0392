"""Rows of unequal length in one batch: their last steps, their opposite order. Lengths are int64 [B], from 1 to T."""

import torch
from torch import Tensor


def last_rows(sequence: Tensor, lengths: Tensor | None) -> Tensor:
    """Return a copy [B, H] of the last valid step of each row of [T, B, H]."""
    if lengths is None:
        return sequence[-1].clone()
    return sequence[lengths - 1, torch.arange(lengths.shape[0], device=lengths.device)]


def spread_last(grad: Tensor | None, grad_last: Tensor, lengths: Tensor, T: int, dtype: torch.dtype) -> Tensor:
    """Return the gradient of a sequence [T, B, H] and of its last valid rows [B, H] as one sequence of a dtype."""
    total = grad_last.new_zeros(T, *grad_last.shape, dtype=dtype) if grad is None else grad.to(dtype, copy=True)
    total[lengths - 1, torch.arange(lengths.shape[0], device=lengths.device)] += grad_last
    return total


def reverse_rows(sequence: Tensor, lengths: Tensor | None) -> Tensor:
    """Return [T, B, …] with the valid steps of every row in the opposite order."""
    if lengths is None:
        return sequence.flip(0)
    steps = torch.arange(sequence.shape[0], device=sequence.device)[:, None]  # [T, 1]
    source = torch.where(steps < lengths, lengths - 1 - steps, steps)  # [T, B]
    return sequence[source, torch.arange(sequence.shape[1], device=sequence.device)]


def selected_rows(embedding: Tensor, tokens: Tensor) -> Tensor:
    """Return an embedding [V, I] with zeros in the rows that no token selects.

    Such a row takes no part in a batch. Its gradient is 0, but if it held a NaN, 0 times it would be NaN.
    """
    selected = torch.zeros(len(embedding), dtype=torch.bool, device=embedding.device)
    selected[tokens.flatten().long()] = True
    return embedding.masked_fill(~selected[:, None], 0.0)
