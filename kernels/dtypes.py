"""Which dtype does what in mixed precision: products in the low one, cells, gates and sums in float32."""

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor


def accumulation_dtype(dtype: torch.dtype) -> torch.dtype:
    """Return the dtype of cells, gates and sums for weights of a dtype: float32 for the 16-bit ones."""
    return torch.float32 if dtype in (torch.bfloat16, torch.float16) else dtype


def autocast_is_on(device: torch.device) -> bool:
    """Tell whether autocast is enabled for a device; some, such as meta, have none."""
    return torch.amp.is_autocast_available(device.type) and torch.is_autocast_enabled(device.type)


def without_autocast(device: torch.device) -> AbstractContextManager[object]:
    """Return a context in which autocast chooses no dtype, for code that has chosen itself."""
    return torch.autocast(device.type, enabled=False) if autocast_is_on(device) else nullcontext()


def compute_dtype(weight: Tensor) -> torch.dtype:
    """Return the dtype of the recurrent products: the weight's, or under autocast the one it asks for."""
    if autocast_is_on(weight.device) and weight.dtype == torch.float32:
        return torch.get_autocast_dtype(weight.device.type)
    return weight.dtype
