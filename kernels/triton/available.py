"""Whether the Triton backend can run a case. Imports nothing but torch, so it costs nothing where triton is absent."""

import functools
from importlib.metadata import version
from importlib.util import find_spec

import torch

DTYPES = (torch.float32, torch.bfloat16, torch.float16)


@torch.compiler.assume_constant_result
def refusal(dtype: torch.dtype, device: str) -> str | None:
    """Say in one sentence why the backend cannot run, None if it can.

    Args:
        dtype: of the products.
        device: type of the device; on a CPU the kernels run under Triton's interpreter alone, TRITON_INTERPRET=1.
    """
    if dtype not in DTYPES:
        return f"it has no kernels in {str(dtype).removeprefix('torch.')}"
    reason = _missing()
    if reason is None and not interpreting():
        reason = _unfit() if device == "cuda" else f"it runs on CUDA devices, and the weights are on {device}"
    return reason


@functools.cache
def interpreting() -> bool:
    """Tell whether Triton interprets its kernels, on the CPU, as set when a process starts."""
    from triton import knobs

    return bool(knobs.runtime.interpret)


@functools.cache
def _missing() -> str | None:
    """Say why triton itself cannot be used."""
    if find_spec("triton") is None:
        return "the package triton is not installed"
    found = tuple(int(part) for part in version("triton").split(".")[:2])
    if found < (3, 6):
        return f"it needs triton 3.6 or later, and {version('triton')} is installed"
    if found < (3, 7) and interpreting():
        return "the interpreter of triton 3.6 fails with present versions of numpy"
    return None


@functools.cache
def _unfit() -> str | None:
    """Say why the current CUDA device cannot be used."""
    if torch.version.hip is not None:
        return "its kernels are for NVIDIA's devices"
    if torch.cuda.get_device_capability() < (8, 0):
        return "it needs a device of compute capability 8.0 or later"
    return None
