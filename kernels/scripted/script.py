"""The building blocks of time loops: the decorator that scripts them, their arguments, and the product of a step.

torch.jit is deprecated and unsupported from Python 3.14 on. So a loop is scripted when it is first used, the one
warning is filtered here, and where scripting is not possible the same function runs as plain Python: slower, with equal
results.
"""

import functools
import sys
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

unscripted = False  # set by `dispatch.unscripted()`, for tests


class Folded(NamedTuple):
    """A cell's weights in the form that its loops take, or the gradients of such weights."""

    weight_ih: Tensor  # of the input projection [G, I]
    bias: Tensor | None  # of the input projection [G]
    weight_hh: Tensor  # of the recurrent product [R, H]
    extra: list[Tensor]  # further tensors that the loops read, such as peepholes


class Starts(NamedTuple):
    """The rows that start anew at each step of a chunk."""

    pieces: list[int]  # which of `rows` is a step's, −1 for none; empty where no row of the chunk starts anew
    rows: list[Tensor]  # int64 [·]


class ForwardChunk(NamedTuple):
    """The argument of a forward loop: k steps, of which it fills `gates` and `states`."""

    gates: list[Tensor]  # buffers [k, B, ·]; the first holds the input projection W x + b before the loop
    states: list[Tensor]  # the states after each step, [k, B, H] each
    before: list[Tensor]  # the states before the chunk, [B, H] each
    weights: list[Tensor]  # the recurrent weight, transposed [H, R], then `Folded.extra`
    factor: float  # what has been multiplied into the candidate's weights
    ended: Tensor | None  # marks steps after a row's last valid one [k, B, 1]; None where there are none
    resets: Starts
    reset_places: Tensor | None  # the same rows as rows of [k · B]; None where there are none
    zoneout: list[Tensor]  # for each state how much of it stays as it was in each step [k, B, H]; none without zoneout
    # Buffers to overwrite: one for the recurrent product [B, R] in the dtype of the weights, then
    # `ScriptedCell.forward_scratch` ones [B, H].
    scratch: list[Tensor]


class BackwardChunk(NamedTuple):
    """The argument of a backward loop, which goes from the last step of a chunk to the first."""

    grads: list[Tensor | None]  # the gradients that reach the states from outside, [k, B, H] or None each
    states: list[Tensor]  # the states after each step, [k, B, H] each
    before: list[Tensor]  # the states before the chunk, [B, H] each
    gates: list[Tensor]  # what the forward loop left in its buffers
    weights: list[Tensor]  # the recurrent weight [R, H], then `Folded.extra`
    factor: float  # that of the forward loop
    resets: Starts
    reset_places: Tensor | None  # as in `ForwardChunk`
    zoneout: list[Tensor]
    # A pair to fill [k, B, ·]: in the accumulation dtype, and in the dtype of the weights. Where the dtypes are equal
    # both are the same tensor.
    grad_gates: list[Tensor]
    grad_states: list[Tensor]  # the gradients of the states [B, H] each, to be taken from after the chunk to before it
    scratch: list[Tensor]  # to overwrite [B, H]: one in the dtype of the weights, then `ScriptedCell.backward_scratch`
    # The gradients of `Folded.extra`. A layer norm's come out of torch's operator step by step, so its loop adds them
    # here. Those of peepholes and projections are one sum or product over the chunk: `extra_gradients`, after the loop.
    grad_extra: list[Tensor]


def loop(function: Callable[..., None]) -> Callable[..., None]:
    """Decorate a time loop: it runs scripted where there is TorchScript."""

    @functools.wraps(function)
    def run(*args: Any) -> None:
        return (function if unscripted or refusal() else _scripted(function))(*args)

    return run


def refusal() -> str | None:
    """Return why loops cannot be scripted here, None if they can."""
    if sys.version_info >= (3, 14):
        return "TorchScript does not support Python 3.14 and later"
    return None


@functools.cache
def _scripted(function: Callable[..., None]) -> Callable[..., None]:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*torch.jit.script.* is (deprecated|not supported)")
        try:
            return torch.jit.script(function)
        except OSError:  # there is no source to script
            return function


def entering(state: Tensor, resets: Starts, t: int) -> Tensor:
    """Return the state that enters step t, given the one before it: zero in the rows that start anew."""
    if len(resets.pieces) == 0 or resets.pieces[t] < 0:
        return state
    return state.index_fill(0, resets.rows[resets.pieces[t]], 0.0)


def stop_gradient(grad: Tensor, resets: Starts, t: int) -> None:
    """Set a gradient at step t to zero in the rows that start anew there: that of a state that enters the step."""
    if len(resets.pieces) > 0 and resets.pieces[t] >= 0:
        grad.index_fill_(0, resets.rows[resets.pieces[t]], 0.0)


def let_stay(new: Tensor, before: Tensor, zoneout: list[Tensor], state: int, t: int) -> None:
    """Give the units that stay, or all of them in part, the value from before the step; `state` is an index."""
    if len(zoneout) > 0:
        new.lerp_(before, zoneout[state][t])


def split_gradient(grad: Tensor, zoneout: list[Tensor], state: int, t: int, staying: Tensor) -> None:
    """Take from the gradient of a state that of the units that stay, into `staying`; the rest is of the new value."""
    torch.mul(grad, zoneout[state][t], out=staying)
    grad.sub_(staying)


def add_product(total: Tensor, left: Tensor, right: Tensor, product: Tensor | None = None) -> None:
    """Add left × right to `total`: float32 for 16-bit factors, whose product goes through `product`, if given."""
    if left.dtype == total.dtype:
        total.addmm_(left, right)
    elif product is None:
        total.add_(left @ right)
    else:
        torch.mm(left, right, out=product)
        total.add_(product)


def write_product(total: Tensor, left: Tensor, right: Tensor, product: Tensor) -> None:
    """Write left × right into `total`, through `product` for 16-bit factors."""
    if left.dtype == total.dtype:
        torch.mm(left, right, out=total)
    else:
        total.copy_(torch.mm(left, right, out=product))


def low_gradient(grad: Tensor, low: Tensor, t: int) -> Tensor:
    """Return the gradient of the gates of step t in the dtype of the weights; `low` is `grad_gates[1]` of the chunk."""
    return grad if grad.dtype == low.dtype else low[t].copy_(grad)
