"""Whether the Triton backend can run a case. Imports no triton: it costs nothing where that is absent or not used."""

import functools
import os
from importlib.metadata import PackageNotFoundError, version

import torch

DTYPES = (torch.float32, torch.bfloat16, torch.float16)
INTERPRETING = os.environ.get("TRITON_INTERPRET", "").lower() in ("1", "true", "yes", "on", "y")


def _missing() -> str | None:
    """Say why triton itself cannot be used."""
    try:
        found = version("triton")
    except PackageNotFoundError:
        return "the package triton is not installed"
    release = tuple(int(part) for part in found.split(".")[:2])
    if release < (3, 6):
        return f"it needs triton 3.6 or later, and {found} is installed"
    if release < (3, 7) and INTERPRETING:
        return "the interpreter of triton 3.6 fails with numpy 2.4"
    return None


MISSING = _missing()


def refusal(dtype: torch.dtype, device: str) -> str | None:
    """Say in one sentence why the backend cannot run, None if it can.

    Args:
        dtype: of the products.
        device: type of the device; on a CPU the kernels run under Triton's interpreter alone, TRITON_INTERPRET=1.
    """
    if dtype not in DTYPES:
        return f"it has no kernels in {str(dtype).removeprefix('torch.')}"
    if MISSING is not None or INTERPRETING:
        return MISSING
    if device != "cuda":
        return f"it runs on CUDA devices, and the weights are on {device}"
    return None if torch.compiler.is_compiling() else _unfit()


@functools.cache
def _unfit() -> str | None:
    """Say why the current CUDA device cannot be used."""
    if torch.version.hip is not None:
        return "its kernels are for NVIDIA's devices"
    if not torch.cuda.is_available():
        return "there is no CUDA device"
    if torch.cuda.get_device_capability() < (8, 0):
        return "it needs a device of compute capability 8.0 or later"
    return None
