"""The loop over time in plain differentiable operations: the reference that every backend is tested against.

The equations of a cell are in `kernels/cells/<name>/reference.py`, as its paper prints them. They work in any floating
dtype and can be differentiated any number of times.

Legend: B batch, T time, I input, H hidden, G gates · H, V vocabulary.
"""

import warnings
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
    steps = [project(inputs, embedding, *projection)]
    if resets is not None:
        steps.append(resets[..., None])
    first_zoneout = len(steps)
    steps += zoneout
    if lengths is not None:
        steps.append((torch.arange(steps[0].shape[0], device=lengths.device)[:, None] < lengths)[..., None])

    def run(state: State, t: State) -> State:
        """Return the states after a step, given that step of every tensor in `steps`."""
        if resets is not None:
            state = tuple(before.masked_fill(t[1], 0) for before in state)
        new = step(t[0], state)
        if zoneout:
            stays = t[first_zoneout : first_zoneout + len(zoneout)]
            new = tuple(
                torch.lerp(after, before.to(after.dtype), stay.to(after.dtype))
                for after, before, stay in zip(new, state, stays, strict=True)
            )
        if lengths is None:
            return new
        return tuple(
            torch.where(t[-1], after, before.to(after.dtype)) for after, before in zip(new, state, strict=True)
        )

    if torch.compiler.is_exporting():
        return scan_steps(run, state, steps)
    states = []
    for t in zip(*steps, strict=True):
        state = run(state, t)
        states.append(state[0])
    return torch.stack(states), *state


def scan_steps(run: Callable[[State, State], State], state: State, steps: list[Tensor]) -> State:
    """Return what `run_steps` does by torch's scan, so that an exported program has one step in it and any T.

    Args:
        run: returns the states after a step from those before it and that step's part of `steps`.
        state: the states before the first step.
        steps: what the steps read, [T, B, …] each.
    """
    from torch._higher_order_ops.scan import scan

    def combine(before: list[Tensor], t: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        after = run(tuple(before), tuple(t))
        kept = [new.to(old.dtype, copy=True).contiguous() for new, old in zip(after, before, strict=True)]
        return kept, [kept[0].clone()]

    # Copies, since scan fixes B where a state is a part of a larger tensor, as those of a second layer are.
    initial = [each.clone(memory_format=torch.contiguous_format) for each in state]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The .grad attribute of a Tensor that is not a leaf")  # read by scan
        last, (states,) = scan(combine, initial, steps)
    return states, *last
