"""Whether the Triton backend can run. This file does not import triton, so it works without it and costs nothing."""

import os
import shutil
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version

import torch

DTYPES = (torch.float32, torch.bfloat16, torch.float16)
INTERPRETING = os.environ.get("TRITON_INTERPRET", "").lower() in ("1", "true", "yes", "on", "y")


def _version() -> str | None:
    """Return the version of triton; torch's nightly builds call the package pytorch-triton."""
    for name in ("triton", "pytorch-triton"):
        with suppress(PackageNotFoundError):
            return version(name)
    return None


def _numbers(release: str) -> tuple[int, ...]:
    return tuple(int(part) for part in release.split(".")[:2])


def _missing() -> str | None:
    """Return why triton itself cannot be used, None if it can."""
    found = _version()
    if found is None:
        return "the package triton is not installed"
    release = _numbers(found)
    if release < (3, 6):
        return f"it needs triton 3.6 or later, and {found} is installed"
    if release < (3, 7) and INTERPRETING and _numbers(version("numpy")) >= (2, 4):
        return "the interpreter of triton 3.6 fails with numpy 2.4"
    return None


MISSING = _missing()
COMPILER = "CC" in os.environ or shutil.which("gcc") or shutil.which("clang")  # triton calls one


def refusal(dtype: torch.dtype, device: str) -> str | None:
    """Return in one sentence why the backend cannot run with products of a dtype, None if it can.

    On a CPU the kernels run only under Triton's interpreter, TRITON_INTERPRET=1.
    """
    if dtype not in DTYPES:
        return f"it has no kernels in {str(dtype).removeprefix('torch.')}"
    if MISSING is not None or INTERPRETING:
        return MISSING
    if not device.startswith("cuda"):
        return f"it runs on CUDA devices, and the weights are on {device}"
    return _unfit(device)


def _unfit(device: str) -> str | None:
    """Return why a CUDA device cannot be used, None if it can."""
    if torch.version.hip is not None:
        return "its kernels are for NVIDIA's devices"
    if not torch.cuda.is_available():
        return "there is no CUDA device"
    if torch.cuda.get_device_capability(device) < (8, 0):
        return "it needs a device of compute capability 8.0 or later"
    if not COMPILER:
        return "triton needs a C compiler, and there is no gcc or clang"
    return None


# torch.compile calls this once and does not trace it. torch.compiler.assume_constant_result would do the same, but it
# imports the compiler, and with it triton.
_unfit._dynamo_marked_constant = True  # type: ignore[attr-defined]
