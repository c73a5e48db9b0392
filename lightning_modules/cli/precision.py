"""The precision of a run: `--trainer.precision auto` chooses the faster one, and a slow one gives a warning."""

from typing import Any

import torch
from pytorch_lightning.accelerators import CUDAAccelerator, MPSAccelerator

from kernels.processor import computes


def faster_precision(accelerator: Any, gains: bool) -> str:
    """Return "bf16-mixed" for networks that are faster with it, on a device with bfloat16 instructions; else "32-true".

    Args:
        accelerator: trainer.accelerator.
        gains: whether networks of this training system are faster in bfloat16.
    """
    if accelerator in ("auto", "gpu", "cuda") and CUDAAccelerator.is_available():
        device = "cuda"
    elif accelerator == "cpu" or (accelerator == "auto" and not MPSAccelerator.is_available()):
        device = "cpu"
    else:
        return "32-true"  # not measured on other devices
    return "bf16-mixed" if gains and computes(torch.bfloat16, device) else "32-true"


def slowness(precision: str, device: str) -> str | None:
    """Return a warning if the device has no instructions for a 16-bit precision, else None."""
    kind, _, _ = precision.partition("-")
    dtype = {"bf16": torch.bfloat16, "16": torch.float16}.get(kind)
    if dtype is None or computes(dtype, device):
        return None
    name = {"cpu": "CPU", "cuda": "GPU"}.get(device, device)
    lack = f"this {name} has no {str(dtype).removeprefix('torch.')} instructions"
    return f"{precision} is at best as fast as 32-true here: {lack}; --trainer.precision auto takes the faster"
