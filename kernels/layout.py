"""How a caller lays out sequences, and the way to the layout of the kernels and back: [T, B, …], lengths [B].

Legend: B batch, T time, I input, H hidden, L layers, D directions.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from kernels.reference import State


class Layout(NamedTuple):
    """The layout of an input: [T, B, …], [B, T, …], one sequence [T, …], or a PackedSequence."""

    batched: bool = True  # whether there is an axis of the batch
    batch_first: bool = False  # whether it is the first
    packed: PackedSequence | None = None  # the PackedSequence, if the input is one

    def time_first(self, inputs: Any, lengths: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Return the input as [T, B, …], and its lengths; the rows of a PackedSequence are sorted by length."""
        if self.packed is not None:
            padded, lengths = pad_packed_sequence(PackedSequence(self.packed.data, self.packed.batch_sizes))
            return padded, lengths
        if not self.batched:
            return inputs.unsqueeze(1), lengths
        return inputs.transpose(0, 1) if self.batch_first else inputs, lengths

    def steps(self, T: int, B: int) -> tuple[int, ...]:
        """Return the shape of one number for each step, as the caller lays out the input."""
        if not self.batched:
            return (T,)
        return (B, T) if self.batch_first else (T, B)

    def sort_states(self, states: State) -> State:
        """Return initial states [L·D, B, H] in the order of the rows of `time_first`."""
        if self.packed is None or self.packed.sorted_indices is None:
            return states
        return tuple(state[:, self.packed.sorted_indices] for state in states)

    def restore_states(self, states: State) -> State:
        """Return last states [L·D, B, H] as the caller lays them out."""
        if self.packed is not None and self.packed.unsorted_indices is not None:
            return tuple(state[:, self.packed.unsorted_indices] for state in states)
        return states if self.batched else tuple(state.squeeze(1) for state in states)

    def restore_sequence(self, sequence: Tensor, lengths: Tensor | None) -> Any:
        """Return outputs [T, B, D·H] as the caller lays out the input."""
        if self.packed is not None:
            assert lengths is not None
            data = pack_padded_sequence(sequence, lengths.cpu()).data
            return PackedSequence(data, *self.packed[1:])
        if not self.batched:
            return sequence.squeeze(1)
        return sequence.transpose(0, 1) if self.batch_first else sequence


def padding_after(lengths: Tensor | None, T: int) -> Tensor | None:
    """Return which steps come after a row's last valid one [T, B, 1], None for none."""
    return None if lengths is None else (torch.arange(T, device=lengths.device)[:, None] >= lengths)[..., None]


def reverse_rows(sequence: Tensor, lengths: Tensor | None) -> Tensor:
    """Return [T, B, …] with the valid steps of every row in the opposite order."""
    if lengths is None:
        return sequence.flip(0)
    steps = torch.arange(sequence.shape[0], device=sequence.device)[:, None]  # [T, 1]
    source = torch.where(steps < lengths, lengths - 1 - steps, steps)  # [T, B]
    return sequence[source, torch.arange(sequence.shape[1], device=sequence.device)]


def reverse_resets(resets: Tensor, lengths: Tensor | None) -> Tensor:
    """Return the resets [T, B] of the reverse direction, in its order of the steps.

    A reset at step t cuts a sequence between t − 1 and t. The reverse direction enters step t − 1 behind that cut.
    """
    behind = torch.cat([torch.zeros_like(resets[:1]), reverse_rows(resets, lengths)])[:-1]
    padding = padding_after(lengths, resets.shape[0])
    return behind if padding is None else behind & ~padding[..., 0]


def last_rows(sequence: Tensor, lengths: Tensor | None) -> Tensor:
    """Return a copy [B, H] of the last valid step of each row of [T, B, H]."""
    if lengths is None:
        return sequence[-1].clone()
    return sequence[lengths - 1, torch.arange(lengths.shape[0], device=lengths.device)]


def rows_before_last(sequence: Tensor, first: Tensor, lengths: Tensor | None) -> Tensor:
    """Return the step before each row's last valid one [B, H]; `first` [B, H] comes before the sequence."""
    if lengths is None:
        return sequence[-2] if len(sequence) > 1 else first
    return torch.where((lengths > 1)[:, None], last_rows(sequence, (lengths - 1).clamp(min=1)), first)


def spread_last(grad: Tensor | None, grad_last: Tensor, lengths: Tensor, T: int, dtype: torch.dtype) -> Tensor:
    """Return the gradient of a sequence [T, B, H] and of its last valid rows [B, H] as one sequence of a dtype."""
    total = grad_last.new_zeros(T, *grad_last.shape, dtype=dtype) if grad is None else grad.to(dtype, copy=True)
    total[lengths - 1, torch.arange(lengths.shape[0], device=lengths.device)] += grad_last
    return total


def selected_rows(embedding: Tensor, tokens: Tensor) -> Tensor:
    """Return an embedding [V, I] with zeros in the rows that no token selects.

    Such a row takes no part in a batch. Its gradient is 0, but if it held a NaN, 0 times it would be NaN.
    """
    selected = torch.zeros(len(embedding), dtype=torch.bool, device=embedding.device)
    selected.index_fill_(0, tokens.flatten().long(), True)
    return embedding.masked_fill(~selected[:, None], 0.0)
