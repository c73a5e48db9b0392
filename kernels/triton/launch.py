"""How a kernel that loops over time is launched.

Programs of a group wait for each other, so they must all run at the same time. On a GPU their grid is launched
cooperatively, and a large batch takes several launches. Triton's interpreter runs programs one after another; there a
group is launched for one step at a time, so that no program waits for one that has not started.

Legend: B batch, T time, H hidden, G gates · H.
"""

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from kernels.triton import available, plan

OPTIONS = {"num_stages": 1, "enable_fp_fusion": True}  # a loop that reads ahead says so itself


@dataclass(frozen=True)  # Triton would take the names from a NamedTuple within a tuple
class Factors:
    """A recurrent product of a step: `inner` vectors of H numbers, times weights, are `outer` gates of H units."""

    inner: int  # 1 state going forward, the gradients of several gates going back
    outer: int  # several gates going forward, the gradient of 1 state going back; 1, 2 or 4
    state_offset: int  # where the vectors start in a row
    state_stride: int  # distance of two rows of the vectors
    weight_offset: int  # where the weights start
    weight_stride: int  # distance of two rows of the weights


def launch(
    kernel: Any, own: plan.Plan, T: int, B: int, arguments: tuple[Any, ...], results: tuple[Any, ...],
    *, reverse: bool = False, **constants: Any,
) -> None:  # fmt: skip
    """Run a kernel over T steps of B rows, at least one; with `reverse` from the last step to the first.

    The kernel takes the arguments, the results, counters and integers of the launch, the constants and its own plan.
    Arguments and results are tensors, or tuples of them. The first argument is a tensor. Results are contiguous, and
    the kernel writes them.
    """
    device = arguments[0].device
    tiles, alone = -(-B // own.BLOCK_B), own.programs == 1
    at_once = tiles if alone else plan.device_limits(device).processors // own.programs
    spans = [(0, T)] if alone or not available.INTERPRETING else [(t, t + 1) for t in range(T)]
    options = OPTIONS if alone or available.INTERPRETING else {**OPTIONS, "launch_cooperative_grid": True}
    given, taken = readable(arguments), readable(results)
    with current_device(device):
        for first_tile in range(0, tiles, at_once):
            groups = min(at_once, tiles - first_tile)
            for first_step, end_step in reversed(spans) if reverse else spans:
                counters = torch.zeros(groups * plan.COUNTER_STRIDE, dtype=torch.int32, device=device)
                integers = B, first_step, end_step, first_tile
                kernel[(groups * own.programs,)](
                    *given, *taken, counters, *integers, **constants, plan=own, num_warps=own.num_warps, **options
                )
    write_back(results, taken)


def round_to_tf32(x: Tensor) -> Tensor:
    """Return float32 numbers rounded to the 10 bits of TF32, as `tiles.as_factor` does."""
    rounded = (x.contiguous().view(torch.int32) + 0x1000 & -0x2000).view(torch.float32)
    return torch.where(x.isnan(), x, rounded)


def current_device(device: torch.device) -> AbstractContextManager[object]:
    """Return a context in which kernels are launched on a device."""
    return torch.cuda.device(device) if device.type == "cuda" else nullcontext()


def readable(tensors: Any) -> Any:
    """Return tensors, or tuples of them, as a kernel gets them.

    They are contiguous and start at multiples of 16 bytes. Otherwise a kernel would be compiled again for the states of
    a later layer or direction, for some batches and odd H. The interpreter has no bfloat16 and gets float32.
    """
    if isinstance(tensors, tuple):
        return tuple([readable(tensor) for tensor in tensors])
    if tensors is None:
        return None
    tensor = tensors if tensors.is_contiguous() else tensors.contiguous()
    if tensor.data_ptr() % 16:
        tensor = tensor.clone()
    return tensor.float() if available.INTERPRETING and tensor.dtype == torch.bfloat16 else tensor


def write_back(results: Any, taken: Any) -> None:
    """Copy what a kernel has written to the results that it was not given itself."""
    for result, values in zip(results, taken, strict=True):
        if isinstance(result, tuple):
            write_back(result, values)
        elif values is not result:
            result.copy_(values)
