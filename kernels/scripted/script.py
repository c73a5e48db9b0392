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
        try:
            return torch.jit.script(function)
        except OSError:  # there is no source to script
            return function


def add_product(total: Tensor, left: Tensor, right: Tensor, product: Tensor | None = None) -> None:
    """Add left × right to `total`: float32 for 16-bit factors, whose product goes through `product`, if given."""
    if left.dtype == total.dtype:
        total.addmm_(left, right)
    elif product is None:
        total.add_(left @ right)
    else:
        torch.mm(left, right, out=product)
        total.add_(product)
