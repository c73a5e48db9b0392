"""From the arguments of a call to what the layers run over: checked, and in the layout of the kernels.

Legend: B batch, T time, I input, H hidden, V vocabulary, L layers, D directions.
"""

from typing import TYPE_CHECKING, Any, NamedTuple

from torch import Tensor
from torch.nn.utils.rnn import PackedSequence

from kernels import checks
from kernels.layout import Layout
from kernels.reference import State

if TYPE_CHECKING:
    from kernels.layer import RecurrentLayer


class Sequences(NamedTuple):
    """What a layer and direction runs over."""

    inputs: Tensor  # vectors [T, B, I], or tokens [T, B] where an embedding is given
    embedding: Tensor | None  # vectors of the tokens [V, I]
    lengths: Tensor | None  # valid steps of each row [B], None for T
    resets: Tensor | None  # marks the steps that a row enters with states of zero [T, B]


def read_arguments(
    layer: "RecurrentLayer",
    input: Tensor | PackedSequence,
    hx: Any,
    lengths: Tensor | None,
    resets: Tensor | None,
    embedding: Tensor | None,
) -> tuple[Layout, Sequences, State]:
    """Return the caller's layout, the sequences, and the initial states [L·D, B, H] in the order of their rows.

    Arguments and errors are those of `RecurrentLayer.forward`.
    """
    layout = _checked_layout(layer, input, lengths, resets, embedding)
    inputs, lengths = layout.time_first(input, lengths)
    T, B = inputs.shape[:2]
    if lengths is not None:
        lengths = checks.check_lengths(lengths, T, B, inputs.device)
    if resets is not None:
        resets = checks.check_resets(resets, layout.steps(T, B), inputs.device)
        resets, _ = layout.time_first(resets, None)
    state = layout.sort_states(checks.initial_states(layer, hx, B, layout.batched))
    return layout, Sequences(inputs, embedding, lengths, resets), state


def _checked_layout(
    layer: "RecurrentLayer",
    input: Tensor | PackedSequence,
    lengths: Tensor | None,
    resets: Tensor | None,
    embedding: Tensor | None,
) -> Layout:
    """Check the input and return how it is laid out."""
    if embedding is not None:
        checks.check_ids(layer, input, embedding)  # type: ignore[arg-type]
        return Layout(input.dim() == 2, layer.batch_first)  # type: ignore[union-attr]
    if not isinstance(input, PackedSequence):
        checks.check_vectors(layer, input, {2, 3}, "input", "[T, I] or [T, B, I]")
        return Layout(input.dim() == 3, layer.batch_first)
    if lengths is not None:
        raise ValueError("a PackedSequence has its own lengths; lengths= must be None")
    if resets is not None:
        raise ValueError("resets= cannot be combined with a PackedSequence; pass a padded tensor and lengths=")
    checks.check_vectors(layer, input.data, {2}, "a PackedSequence's data", "[rows, I]")
    return Layout(packed=input)
