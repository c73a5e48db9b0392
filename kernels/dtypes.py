"""Which dtype does what in mixed precision: products in the low one, cells, gates and sums in float32."""

import torch
from torch import Tensor


def accumulation_dtype(dtype: torch.dtype) -> torch.dtype:
    """Return the dtype of cells, gates and sums for weights of a dtype: float32 for the 16-bit ones."""
    return torch.float32 if dtype in (torch.bfloat16, torch.float16) else dtype


def compute_dtype(weight: Tensor) -> torch.dtype:
    """Return the dtype of the recurrent products: the weight's, or under autocast the one it asks for."""
    if torch.is_autocast_enabled(weight.device.type) and weight.dtype == torch.float32:
        return torch.get_autocast_dtype(weight.device.type)
    return weight.dtype
