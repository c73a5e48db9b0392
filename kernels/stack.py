"""Stacked layers and both directions: what each of them runs over, and by which backend.

Legend: B batch, T time, I input, H hidden, G gates · H, V vocabulary, L layers, D directions.
"""

from collections.abc import Callable
from contextlib import nullcontext
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn.functional import dropout

from kernels import dispatch
from kernels.arguments import Sequences
from kernels.cell import Given
from kernels.checks import checked_weights
from kernels.layout import padding_after, reverse_resets, reverse_rows
from kernels.reference import State, run_steps
from kernels.zoneout import draw

if TYPE_CHECKING:
    from kernels.layer import RecurrentLayer, Weights


def run_layers(layer: "RecurrentLayer", given: Sequences, state: State, last: bool) -> tuple[Tensor, State]:
    """Run all layers and directions: the outputs of the last layer [T, B, D·H], and the last states [L·D, B, H].

    Args:
        layer: has the weights.
        given: what the first layer runs over.
        state: initial states [L·D, B, H].
        last: whether only the last states are wanted; the outputs are then not those of the last layer.
    """
    D, lengths = 2 if layer.bidirectional else 1, given.lengths
    padding = padding_after(lengths, given.inputs.shape[0])
    inputs, embedding, starting = _without_padding(given, padding), given.embedding, _starts(given, padding, D)
    dtype = layer.result_dtype(inputs.dtype if embedding is None else embedding.dtype)
    state_dtypes = layer.state_dtypes(dtype)
    finals: list[State] = []
    for k in range(layer.num_layers):
        top, outputs = k == layer.num_layers - 1, []
        for direction in range(D):
            index = k * D + direction
            weights = checked_weights(layer, layer._suffixes[index], inputs.device)
            rows = reverse_rows(inputs, lengths) if direction == 1 else inputs
            own = Sequences(rows, embedding, lengths, starting[direction])
            sequence, *final = run_direction(layer, weights, own, tuple(value[index] for value in state), last and top)
            finals.append(tuple(map(Tensor.to, final, state_dtypes)))
            if not (last and top):
                sequence = sequence.to(dtype)
                sequence = sequence if padding is None else sequence.masked_fill(padding, 0)
                outputs.append(reverse_rows(sequence, lengths) if direction == 1 else sequence)
        if outputs:
            inputs, embedding = outputs[0] if D == 1 else torch.cat(outputs, dim=2), None
        if not top:
            inputs = dropout(inputs, layer.dropout, layer.training)
    if len(finals) == 1:
        return inputs, tuple(value[None] for value in finals[0])
    return inputs, tuple(torch.stack(values) for values in zip(*finals, strict=True))


def _without_padding(given: Sequences, padding: Tensor | None) -> Tensor:
    """Return inputs without what comes after a row's end: vectors become 0, tokens the first one of the row.

    Nothing may depend on it. A NaN there would reach the gradients, since 0 · NaN is NaN.
    """
    if padding is None:
        return given.inputs
    if given.embedding is None:
        return given.inputs.masked_fill(padding, 0)
    return torch.where(padding[..., 0], given.inputs[:1], given.inputs)


def _starts(given: Sequences, padding: Tensor | None, D: int) -> list[Tensor | None]:
    """Return the resets of each direction, in its own order of the steps; none after a row's end."""
    if given.resets is None:
        return [None] * D
    resets = given.resets if padding is None else given.resets & ~padding[..., 0]
    return [resets] if D == 1 else [resets, reverse_resets(resets, given.lengths)]


def run_direction(layer: "RecurrentLayer", weights: "Weights", given: Sequences, state: State, last: bool) -> State:
    """Run one layer and direction by the backend that the rules choose.

    Args:
        layer: has the cell and the options.
        weights: the parameters by their names in `shapes`.
        given: what it runs over, in the order of its steps.
        state: the states before its first step [B, H].
        last: whether only the last states are wanted.

    Returns:
        All values of the first state [T, B, H], which may be empty with `last`, and the last valid state(s) [B, H].
    """
    inputs, embedding, lengths, resets = given
    tensors = (inputs, embedding, *weights.values(), *state)
    tracing = torch.jit.is_tracing()  # a trace may be differentiated when it runs
    wanted = torch.is_grad_enabled() and any(tensor is not None and tensor.requires_grad for tensor in tensors)
    learning, cell = wanted or tracing, layer._cell
    backend, _ = layer.choose(
        inputs.shape[1], tokens=embedding is not None, ragged=lengths is not None, learning=learning,
        resets=resets is not None,
    )  # fmt: skip
    zoneout = _draw_zoneout(layer, inputs.shape[0], state)
    if backend == "reference":
        if dispatch.exporting_to_onnx():  # without gradients, for which torch's scan fails to keep free sizes
            weights = {name: weight.detach() for name, weight in weights.items()}
            embedding = None if embedding is None else embedding.detach()
            inputs, state = inputs.detach(), tuple(value.detach() for value in state)
        step, projection = equations(layer, weights)
        return run_steps(step, inputs, embedding, projection, state, lengths, resets, zoneout)
    keep = learning and not layer.recompute
    arguments = Given(
        inputs, embedding, cell.tensors(weights), state, lengths, resets, options=layer.cell_options, keep=keep,
        last_only=last, zoneout=zoneout,
    )  # fmt: skip
    # Under autograd a trace would record a Python function instead of the operator.
    bare = tracing and backend in ("torchscript", "triton")
    with torch.no_grad() if bare else nullcontext():
        return cell.implementation(backend)(arguments)[: 1 + layer.num_states]


def _draw_zoneout(layer: "RecurrentLayer", T: int, state: State) -> tuple[Tensor, ...]:
    """Return for each state how much of it stays as it was in each step [T, B, H]; nothing without zoneout.

    Args:
        layer: has the probabilities.
        T: number of steps, from a tensor's shape: len() of a tensor would fix T in an exported program.
        state: the states before the first step.
    """
    if not any(layer.zoneout):
        return ()
    if layer.training and dispatch.exporting_to_onnx():
        raise ValueError("zoneout in training cannot be exported to ONNX; call eval() on the layer first")
    return tuple(draw(p, layer.training, T, before) for p, before in zip(layer.zoneout, state, strict=True))


def equations(
    layer: "RecurrentLayer", weights: "Weights"
) -> tuple[Callable[[Tensor, State], State], tuple[Tensor, Tensor | None]]:
    """Return the equations of one layer and direction: step(projected, state) returns the states after a step.

    The second result is weight and bias of the input projection, [G, I] and [G] or None.
    """
    if layer.cell is not None:
        (weight_ih, weight_hh, bias, *others), of_cell = layer.cell.tensors(weights), layer.cell.step
        assert of_cell is not None
        arguments = (weight_hh, *others, *layer.cell_options)
        return lambda projected, state: of_cell(projected, state, *arguments), (weight_ih, bias)

    def step(projected: Tensor, state: State) -> State:
        states = layer.step(weights, projected, state)
        if not isinstance(states, tuple) or len(states) != layer.num_states:
            got = f"{len(states)} of them" if isinstance(states, tuple) else type(states).__name__
            raise TypeError(
                f"{type(layer).__name__}.step must return a tuple of {layer.num_states} state(s), got {got}"
            )
        return states

    return step, (weights["weight_ih"], weights.get("bias_ih"))
