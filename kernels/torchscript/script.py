"""The one place where time loops are scripted.

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

unscripted = False  # set by `dispatch.unscripted()`, for tests


def loop(function: Callable[..., None]) -> Callable[..., None]:
    """Decorate a time loop: it runs scripted where TorchScript is to be had."""

    @functools.wraps(function)
    def run(*args: Any) -> None:
        return (function if unscripted or refusal() else _scripted(function))(*args)

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


def add_product(gate: Tensor, state: Tensor, weight_t: Tensor, product: Tensor) -> None:
    """Add state × weight_t to `gate`, for use in a loop; 16-bit products go through `product`, gates being float32."""
    if weight_t.dtype == gate.dtype:
        gate.addmm_(state, weight_t)
    else:
        torch.mm(state, weight_t, out=product)
        gate.add_(product)
