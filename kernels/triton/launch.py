"""How a time loop is spread over programs, and its launch.

A group of programs works on a tile of the batch, for all steps. A program owns some of the H units with all their
gates, and holds its part of the recurrent weights on the chip: a small layer is one program a tile, a larger one as
many as its weights need. What a program needs of the others it reads from the array of results, or a copy of it as it
is multiplied, each place of which is written once; before it reads, the group meets at a counter in memory. So all
programs of a group must run at once: a grid is launched cooperatively and has no more programs than the device has
processors; a larger batch takes several launches. Weights that would not fit are read again in every step.

What is compiled depends on the cell, H and the dtype, and on the batch only by the height of a tile and the number of
programs, a few variants in all; not on the number of steps.

Under Triton's interpreter programs run one after another. There a group is launched for one step at a time, so that
nobody has to wait for a program that has not begun; the kernels are the same.

Legend: B batch, T time, H hidden, G gates · H.
"""

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor

from kernels.triton import available, plan

ELEMENTS = 1024  # of a program at least, where each is worked on alone
COUNTERS = 32  # int32 for a group, so that each has a cache line of its own; the kernels use the first
OPTIONS = {"num_stages": 1, "enable_fp_fusion": True}  # a loop says itself what it reads ahead
RUN_TIME = ["B", "first_step", "end_step", "first_tile"]  # arguments for whose values nothing is compiled anew


def launch(
    kernel: Any,
    weight: Tensor,
    arguments: tuple[Tensor | None, ...],
    results: tuple[Tensor, ...],
    *,
    first: Tensor | None = None,
    reverse: bool = False,
    summed: int | None = None,
    **constants: Any,
) -> None:
    """Run a kernel over all steps.

    Args:
        kernel: takes the weight; going forward a group's copy of its states [T + 1, B, H], if it has one; arguments,
            results, a counter for each group, B, the first step, the step after the last, the first tile; then H, the
            constants, and a plan's sizes.
        weight: its recurrent weight [G, H]; going back the kernel gets the transpose.
        arguments: tensors that it reads.
        results: tensors that it writes, contiguous; the first has T steps, or going back T + 1, the last is […, B, H].
        first: the states before step 0 [B, H], going forward.
        reverse: whether it goes from the last step to the first.
        summed: of `plan`.
        **constants: compile-time constants of the kernel.
    """
    T, (B, H), device = len(results[0]) - int(reverse), results[-1].shape[-2:], weight.device
    if B == 0:
        return
    limits = plan.device_limits(device)
    own = plan.make_plan(len(weight) // H, H, B, plan.weight_bytes(weight.dtype), reverse, limits, summed)
    precision = own.precision
    sizes = {
        "ROWS": own.BLOCK_B, "UNITS": own.BLOCK_H, "BLOCK": own.BLOCK_K, "PIECES": own.resident_blocks,
        "SPLIT": own.split_k,
    }  # fmt: skip
    tiles, alone = -(-B // own.BLOCK_B), own.programs == 1
    at_once = tiles if alone else limits.processors // own.programs
    stepwise = not alone and available.INTERPRETING
    spans = [(t, t + 1) for t in range(T)] if stepwise else [(0, T)]
    options = OPTIONS if alone or available.INTERPRETING else {**OPTIONS, "launch_cooperative_grid": True}
    if reverse:
        weight = weight.T
    if precision == "tf32" and own.resident_blocks == 0:
        weight = _rounded(weight)  # once, not in every step
    leading: list[Tensor | None] = [weight]
    if first is not None:
        told = None if alone or (first.dtype == weight.dtype and precision != "tf32") else weight.new_empty(T + 1, B, H)
        if told is not None:
            told[0] = _rounded(first) if precision == "tf32" else first
        leading.append(told)
    given, taken = (_readable(tensors) for tensors in ((*leading, *arguments), results))
    with _current(device):
        for first_tile in range(0, tiles, at_once):
            groups = min(at_once, tiles - first_tile)
            for begin, end in reversed(spans) if reverse else spans:
                counters = torch.zeros(groups * COUNTERS, dtype=torch.int32, device=device)
                kernel[(groups * own.programs,)](
                    *given, *taken, counters, B, begin, end, first_tile, H=H, **constants, **sizes,
                    PRECISION=precision, num_warps=own.num_warps, **options,
                )  # fmt: skip
    _write_back(results, taken)


def launch_over_rows(
    kernel: Any, arguments: tuple[Tensor, ...], results: tuple[Tensor, ...], H: int, **constants: Any
) -> None:
    """Run a kernel over rows of H numbers, each of which is worked on alone.

    Args:
        kernel: takes arguments, results, how many rows there are; then H, the constants, and a program's ROWS and
            COLUMNS.
        arguments: tensors that it reads.
        results: tensors that it writes, contiguous, the last is […, H].
        H: numbers in a row.
        **constants: compile-time constants of the kernel.
    """
    count, columns = results[-1].numel() // H, 1 << (H - 1).bit_length()
    if count == 0:
        return
    rows = max(1, ELEMENTS // columns)
    given, taken = _readable(arguments), _readable(results)
    with _current(results[-1].device):
        kernel[(-(-count // rows),)](*given, *taken, count, H=H, **constants, ROWS=rows, COLUMNS=columns)
    _write_back(results, taken)


def _current(device: torch.device) -> AbstractContextManager[object]:
    return torch.cuda.device(device) if device.type == "cuda" else nullcontext()


def _write_back(results: tuple[Tensor, ...], taken: list[Tensor | None]) -> None:
    for result, values in zip(results, taken, strict=True):
        if values is not None and values is not result:
            result.copy_(values)


def _rounded(x: Tensor) -> Tensor:
    """Return float32 numbers rounded to the 10 bits of TF32, as `tiles.factor` does."""
    rounded = (x.contiguous().view(torch.int32) + 0x1000 & -0x2000).view(torch.float32)
    return torch.where(x.isnan(), x, rounded)


def _readable(tensors: tuple[Tensor | None, ...]) -> list[Tensor | None]:
    """Return the tensors as the kernel gets them: contiguous, and float32 for bfloat16, which the interpreter lacks.

    They begin at multiples of 16 bytes, so that nothing is compiled anew for those that do not: the states of a later
    layer or direction, at some batches and odd H.
    """
    return [None if tensor is None else _as_read(_aligned(tensor.contiguous())) for tensor in tensors]


def _aligned(tensor: Tensor) -> Tensor:
    return tensor.clone() if tensor.data_ptr() % 16 else tensor


def _as_read(tensor: Tensor) -> Tensor:
    return tensor.float() if available.INTERPRETING and tensor.dtype == torch.bfloat16 else tensor
