"""The dtypes of mixed precision: products in 16 bits; cells, gates and sums in float32."""

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor
from torch.nn.functional import embedding as take_rows

from kernels import processor

GPU_SYMBOLS = 1024  # at most, for a token table on a GPU: its gradient is a product with a one-hot matrix there


def accumulation_dtype(dtype: torch.dtype) -> torch.dtype:
    """Return the dtype of cells, gates and sums for weights of a dtype: float32 for the 16-bit ones."""
    return torch.float32 if dtype in (torch.bfloat16, torch.float16) else dtype


def autocast_is_on(device: torch.device) -> bool:
    """Return whether autocast is enabled for a device; some, such as meta, have none."""
    return torch.amp.is_autocast_available(device.type) and torch.is_autocast_enabled(device.type)


def without_autocast(device: torch.device) -> AbstractContextManager[object]:
    """Return a context in which autocast chooses no dtype, for code that has chosen itself."""
    return torch.autocast(device.type, enabled=False) if autocast_is_on(device) else nullcontext()


def compute_dtype(weight: Tensor) -> torch.dtype:
    """Return the dtype of the recurrent products: the weight's, or under autocast the one it asks for."""
    if autocast_is_on(weight.device) and weight.dtype == torch.float32:
        return torch.get_autocast_dtype(weight.device.type)
    return weight.dtype


def scripted_dtype(weight: Tensor) -> torch.dtype:
    """Return the dtype that scripted loops multiply in: `compute_dtype`, or float32 where a CPU emulates that one.

    They are more precise than the products asked for, and many times faster on such a processor.
    """
    dtype = compute_dtype(weight)
    return torch.float32 if emulated(dtype, weight.device.type) else dtype


def emulated(dtype: torch.dtype, device: str) -> bool:
    """Return whether a kind of device is a CPU that emulates products in a dtype."""
    return device == "cpu" and dtype in (torch.bfloat16, torch.float16) and not processor.computes(dtype, device)


def lower(
    inputs: Tensor, embedding: Tensor | None, weight: Tensor, bias: Tensor | None, dtype: torch.dtype
) -> tuple[Tensor, Tensor | None, Tensor, Tensor | None]:
    """Return inputs, embedding, input weight and bias in the dtype of the products.

    A token table is small, so it is made in the accumulation dtype. There is no table where there are fewer tokens than
    symbols, or on a GPU many symbols; the tokens become vectors there. An exported program has a table, whatever the
    number of tokens, which is not known then.
    """
    most = inputs.numel() if inputs.device.type == "cpu" else min(inputs.numel(), GPU_SYMBOLS)
    if embedding is not None and not torch.compiler.is_exporting() and len(embedding) > most:
        inputs, embedding = take_rows(inputs, embedding), None
    if embedding is None:
        inputs = inputs.to(dtype)
    else:
        dtype = accumulation_dtype(dtype)
        embedding = embedding.to(dtype)
    return inputs, embedding, weight.to(dtype), None if bias is None else bias.to(dtype)
