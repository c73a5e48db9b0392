"""The precision of a run: `--trainer.precision auto` takes the faster one, and a slow one is told."""

from typing import Any

import torch
from pytorch_lightning.accelerators import CUDAAccelerator, MPSAccelerator

from kernels.processor import computes


def faster_precision(accelerator: Any, gains: bool) -> str:
    """Return the faster precision: bf16-mixed for a network that gains, on a device with bfloat16 instructions.

    Args:
        accelerator: the setting of that name.
        gains: whether the training system says that its networks gain from bfloat16.
    """
    if accelerator in ("auto", "gpu", "cuda") and CUDAAccelerator.is_available():
        device = "cuda"
    elif accelerator == "cpu" or (accelerator == "auto" and not MPSAccelerator.is_available()):
        device = "cpu"
    else:
        return "32-true"  # measured on none of these
    return "bf16-mixed" if gains and computes(torch.bfloat16, device) else "32-true"


def slowness(precision: str, device: str) -> str | None:
    """Say that a device has no instructions for a 16-bit precision, None if it has."""
    kind, _, _ = precision.partition("-")
    dtype = {"bf16": torch.bfloat16, "16": torch.float16}.get(kind)
    if dtype is None or computes(dtype, device):
        return None
    name = {"cpu": "CPU", "cuda": "GPU"}.get(device, device)
    lack = f"this {name} has no {str(dtype).removeprefix('torch.')} instructions"
    return f"{precision} is many times slower than 32-true here: {lack}; --trainer.precision auto takes the faster"
