"""The one place where time loops are scripted, and the pieces that they share.

torch.jit is deprecated and unsupported from Python 3.14 on. So a loop is scripted when it is first used, the one
warning is filtered here, and where scripting is refused the same function runs unscripted, which is slower and equal.
"""

import functools
import sys
import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import linear

from kernels.dtypes import accumulation_dtype

unscripted = False  # set by `dispatch.unscripted()`, for tests


def loop(function: Callable[..., None]) -> Callable[..., None]:
    """Decorate a time loop: it runs scripted where TorchScript is to be had."""

    @functools.wraps(function)
    def run(*args: Any) -> None:
        return (function if unscripted or refusal() else _scripted(function))(*args)

    return run


def without_autocast(function: Callable[..., Any]) -> Callable[..., Any]:
    """Decorate an operator that has chosen its dtypes itself: autocast must not choose again inside it."""

    @functools.wraps(function)
    def run(*args: Any, **kwargs: Any) -> Any:
        device = next(value.device.type for value in (*args, *kwargs.values()) if isinstance(value, Tensor))
        with torch.autocast(device, enabled=False):
            return function(*args, **kwargs)

    return run


def refusal() -> str | None:
    """Say why loops cannot be scripted here, None if they can."""
    if sys.version_info >= (3, 14):
        return "TorchScript does not support Python 3.14 and later"
    return None


@functools.cache
def _scripted(function: Callable[..., None]) -> Callable[..., None]:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*torch.jit.script.* is (deprecated|not supported)")
        return torch.jit.script(function)


def project(
    inputs: Tensor, embedding: Tensor | None, weight_ih: Tensor, bias: Tensor | None
) -> tuple[Tensor, Tensor | None]:
    """Return the inputs' share of every gate, and the tokens where it is a table.

    Embedding, input weights and bias make a table of V rows; taking rows from it replaces the GEMM over all steps.

    Args:
        inputs: vectors [T, B, I], or tokens [T, B] where an embedding is given.
        embedding: [V, I] or None.
        weight_ih: [G, I].
        bias: [G] or None.

    Returns:
        W x + b [T, B, G] and None; or E Wᵀ + b [V, G] and the tokens, if there are fewer rows than steps.
    """
    if embedding is None:
        return linear(inputs, weight_ih, bias), None
    if embedding.shape[0] > inputs.numel():
        return linear(torch.nn.functional.embedding(inputs, embedding), weight_ih, bias), None
    table = linear(embedding, weight_ih, bias)
    return table.to(accumulation_dtype(table.dtype)), inputs


def place(gate: Tensor, projected: Tensor, ids: Tensor | None, t: int) -> None:
    """Write a step's projected input into `gate` [B, G]: row t of [T, B, G], or the tokens' rows of a table [V, G]."""
    if ids is None:
        gate.copy_(projected[t])
    else:
        torch.index_select(projected, 0, ids[t], out=gate)


def add_product(gate: Tensor, state: Tensor, weight_t: Tensor, product: Tensor) -> None:
    """Add state × weight_t to `gate`; 16-bit products go through `product`, since the gates are float32."""
    if state.dtype == gate.dtype:
        gate.addmm_(state, weight_t)
    else:
        torch.mm(state, weight_t, out=product)
        gate.add_(product)


def last_rows(sequence: Tensor, last: Tensor | None) -> Tensor:
    """Return a copy [B, H] of the last valid step of each row of [T, B, H]; `last` [B] tells which."""
    if last is None:
        return sequence[-1].clone()
    return sequence[last, torch.arange(last.shape[0], device=last.device)]


def spread_last(grad: Tensor | None, grad_last: Tensor | None, last: Tensor | None, like: Tensor) -> Tensor | None:
    """Return the gradient of a sequence [T, B, H] and of its last valid rows as one sequence; None for all zeros."""
    if grad_last is None:
        return grad
    total = torch.zeros_like(like) if grad is None else grad.to(like.dtype, copy=True)
    steps = torch.full_like(total[0, :, 0], len(like) - 1, dtype=torch.long) if last is None else last
    total[steps, torch.arange(len(steps), device=steps.device)] += grad_last
    return total


def grad_projected(grad_gates: Tensor, ids: Tensor | None, rows: int) -> Tensor:
    """Return the gradient of `projected`, given that of the gates [T, B, G]: itself, or its sum over equal tokens."""
    if ids is None:
        return grad_gates
    flat, tokens = grad_gates.flatten(0, 1), ids.flatten()
    if rows > 256:
        return flat.new_zeros(rows, flat.shape[1]).index_add_(0, tokens, flat)
    one_hot = (tokens == torch.arange(rows, device=tokens.device)[:, None]).to(flat.dtype)  # [V, T B]
    return one_hot @ flat  # a GEMM is faster than scattered sums where the table is small


def grad_weight(grad_gates: Tensor, states: Tensor, first: Tensor) -> Tensor:
    """Return Σ_t grad_gates(t)ᵀ state(t − 1), one GEMM over all steps; `first` is the state before the first step."""
    grad = grad_gates[0].T @ first.to(grad_gates.dtype)
    if len(grad_gates) > 1:
        grad = grad.addmm_(grad_gates[1:].flatten(0, 1).T, states[:-1].flatten(0, 1).to(grad_gates.dtype))
    return grad


def refuse_second_derivative(operator: Any) -> None:
    """Make a backward operator say, when it is differentiated itself, which backend can do that."""

    def refuse(ctx: Any, *grads: Tensor) -> None:
        raise NotImplementedError(
            "the torchscript backend has first derivatives only; for create_graph=True use backend='reference'"
        )

    operator.register_autograd(refuse)
