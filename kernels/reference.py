"""The loop over time in plain differentiable operations: the reference that every backend is tested against.

The equations of a cell are in `kernels/cells/<name>/reference.py`, as its paper prints them. They work in any floating
dtype and can be differentiated any number of times.

Legend: B batch, T time, I input, H hidden, G gates · H, V vocabulary.
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import linear

State = tuple[Tensor, ...]
Step = Callable[..., State]


def project(inputs: Tensor, embedding: Tensor | None, weight_ih: Tensor, bias: Tensor | None) -> Tensor:
    """Return W x + b [T, B, G] of vectors [T, B, I], or of tokens [T, B] and their embedding [V, I]."""
    return linear(inputs if embedding is None else embedding[inputs], weight_ih, bias)


def run_steps(
    step: Callable[[Tensor, State], State],
    inputs: Tensor,
    embedding: Tensor | None,
    projection: tuple[Tensor, Tensor | None],
    state: State,
    lengths: Tensor | None,
    resets: Tensor | None = None,
    zoneout: tuple[Tensor, ...] = (),
) -> State:
    """Return all values of the first state [T, B, H], and the last valid ones of every state [B, H].

    Args:
        step: step(projected, state) takes W x + b [B, G] and the states before a step; returns those after it.
        inputs: vectors [T, B, I], or tokens [T, B] where an embedding is given.
        embedding: vectors of the tokens [V, I] or None.
        projection: W [G, I], and b [G] or None.
        state: the states before the first step [B, H].
        lengths: number of valid steps of each row [B], None for T. A row keeps its state after its last valid step.
        resets: marks the steps that a row enters with states of zero [T, B]; none after its last valid step.
        zoneout: for each state how much of it stays as it was in each step [T, B, H], as `zoneout.draw` returns it.
    """
    states = []
    for t, projected in enumerate(project(inputs, embedding, *projection)):
        if resets is not None:
            state = tuple(before.masked_fill(resets[t][:, None], 0) for before in state)
        new = step(projected, state)
        if zoneout:
            new = tuple(
                torch.lerp(after, before.to(after.dtype), stays[t].to(after.dtype))
                for after, before, stays in zip(new, state, zoneout, strict=True)
            )
        if lengths is not None:
            running = (t < lengths)[:, None]
            new = tuple(
                torch.where(running, after, before.to(after.dtype)) for after, before in zip(new, state, strict=True)
            )
        state = new
        states.append(state[0])
    return torch.stack(states), *state
