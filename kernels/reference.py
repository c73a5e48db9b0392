"""The loop over time that all cells share in plain differentiable operations: the oracle of the tests.

The equations of a cell stand in `kernels/cells/<name>/reference.py`, as its paper prints them. They work in any
floating dtype and can be differentiated any number of times.

Legend: B batch, T time, I input, H hidden, G gates · H, V vocabulary.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import linear

State = tuple[Tensor, ...]
Step = Callable[..., State]


def project(inputs: Tensor, embedding: Tensor | None, weight_ih: Tensor, bias: Tensor | None) -> Tensor:
    """Return W x + b [T, B, G] of vectors [T, B, I], or of tokens [T, B] and their embedding [V, I]."""
    return linear(inputs if embedding is None else embedding[inputs], weight_ih, bias)


def run_steps(
    step: Step,
    inputs: Tensor,
    embedding: Tensor | None,
    projection: tuple[Tensor, Tensor | None],
    arguments: tuple[Any, ...],
    state: State,
    lengths: Tensor | None,
) -> State:
    """Return all values of the first state [T, B, H], and the last valid ones of every state [B, H].

    Args:
        step: step(projected, state, *arguments) takes W x + b [B, G] and the states before a step; returns those after.
        inputs: vectors [T, B, I], or tokens [T, B] where an embedding is given.
        embedding: vectors of the tokens [V, I] or None.
        projection: W [G, I], and b [G] or None.
        arguments: further arguments of `step`.
        state: the states before the first step [B, H].
        lengths: number of valid steps of each row [B], None for T. A row's state stays as it is after its last one.
    """
    states = []
    for t, projected in enumerate(project(inputs, embedding, *projection)):
        new = step(projected, state, *arguments)
        if lengths is not None:  # rows whose sequence has ended keep their state
            running = (t < lengths)[:, None]
            new = tuple(
                torch.where(running, after, before.to(after.dtype)) for after, before in zip(new, state, strict=True)
            )
        state = new
        states.append(state[0])
    return torch.stack(states), *state
