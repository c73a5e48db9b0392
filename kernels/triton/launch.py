"""How a time loop is spread over programs, and its launch.

A group of programs works on a tile of the batch, for all steps. A program owns some of the H units with all their
gates, and holds its part of the recurrent weights on the chip: a small layer is one program a tile, a larger one as many
as its weights need. What a step of one program needs of the others it reads from the array of results; between steps
they meet at a counter in memory. So all programs of a group must run at once: a grid is launched cooperatively and has
no more programs than the device has processors; a larger batch takes several launches.

Nothing depends on the number of steps, and on the batch only the height of a tile: no length or batch is compiled anew.

Under Triton's interpreter programs run one after another. There a group is launched for one step at a time, so that
nobody has to wait for a program that has not begun; the kernels are the same.

Legend: B batch, T time, H hidden.
"""

from contextlib import nullcontext
from typing import Any, NamedTuple

import torch
from torch import Tensor

from kernels.triton.available import interpreting

HELD_BYTES = 128 << 10  # of recurrent weights in one program
LEAST_UNITS = 16  # of a program: the narrowest matrix of a tensor core's product that is not padded, twice
HEIGHTS = (16, 32, 64)  # rows of the batch in a tile
STREAMED_UNITS, STREAMED_BLOCK = 32, 64  # where the weights do not fit: read again in every step
COUNTERS = 32  # int32 for a group, so that each has a cache line of its own; the kernels use the first
INTERPRETED_PROCESSORS = 4
RUN_TIME = ["B", "first_step", "end_step", "first_tile"]  # arguments for whose values nothing is compiled anew


class Plan(NamedTuple):
    """How one layer's loop is spread: the same for all lengths and batches.

    Args:
        width: H, padded to a power of two.
        units: units of a program.
        programs: programs of a group.
        block: units of the states that are multiplied at a time: `width` where the weights are held on the chip.
        warps: of a program.
    """

    width: int
    units: int
    programs: int
    block: int
    warps: int


def plan(gates: int, H: int, dtype: torch.dtype, processors: int) -> Plan:
    """Return how to spread the loop of a cell with so many gates that see the state, on so many processors."""
    width = max(16, 1 << (H - 1).bit_length())
    units = width
    while units > LEAST_UNITS and gates * units * width * dtype.itemsize > HELD_BYTES:
        units //= 2
    block = width
    if gates * units * width * dtype.itemsize > HELD_BYTES:
        units, block = STREAMED_UNITS, STREAMED_BLOCK
    while -(-H // units) > processors:
        units, block = 2 * units, STREAMED_BLOCK
    return Plan(width, units, -(-H // units), block, 4 if units <= 32 else 8)


def launch(
    kernel: Any,
    weight: Tensor,
    arguments: tuple[Tensor | None, ...],
    results: tuple[Tensor, ...],
    *,
    reverse: bool = False,
    **constants: Any,
) -> None:
    """Run a kernel over all steps.

    Args:
        kernel: takes the arguments, results, a counter for each group, B, the first step, the step after the last, the
            first tile; then H, the constants, and a plan's sizes.
        weight: its recurrent weight [G, H].
        arguments: tensors that it reads.
        results: tensors that it writes, contiguous; the first is [T, B, …], or of one step more where it goes back, the last […, B, H].
        reverse: whether it goes from the last step to the first.
        **constants: compile-time constants of the kernel.
    """
    T, (B, H), device = len(results[0]) - int(reverse), results[-1].shape[-2:], weight.device
    processors = _processors(device)
    own = plan(len(weight) // H, H, weight.dtype, processors)
    height = next((height for height in HEIGHTS if -(-B // height) * own.programs <= processors), HEIGHTS[-1])
    tiles = -(-B // height)
    sizes = {"ROWS": height, "UNITS": own.units, "WIDTH": own.width, "BLOCK": own.block, "PRECISION": _precision()}
    alone = own.programs == 1
    at_once = tiles if alone else max(1, processors // own.programs)
    stepwise = not alone and interpreting()
    spans = [(t, t + 1) for t in range(T)] if stepwise else [(0, T)]
    options = {} if alone or interpreting() else {"launch_cooperative_grid": True}
    given, taken = (_readable(tensors) for tensors in (arguments, results))
    with torch.cuda.device(device) if device.type == "cuda" else nullcontext():
        for first_tile in range(0, tiles, at_once):
            groups = min(at_once, tiles - first_tile)
            for first, end in reversed(spans) if reverse else spans:
                counters = torch.zeros(groups * COUNTERS, dtype=torch.int32, device=device)
                kernel[(groups * own.programs,)](
                    *given, *taken, counters, B, first, end, first_tile, H=H, **constants, **sizes,
                    num_warps=own.warps, num_stages=1, **options,
                )  # fmt: skip
    for result, values in zip(results, taken, strict=True):
        if values is not None and values is not result:
            result.copy_(values)


def _processors(device: torch.device) -> int:
    if device.type != "cuda":
        return INTERPRETED_PROCESSORS
    return torch.cuda.get_device_properties(device).multi_processor_count


def _precision() -> str:
    """Return how float32 is multiplied: as torch does where TF32 is on, else in three such products, nearly exact."""
    return "tf32" if torch.backends.cuda.matmul.fp32_precision == "tf32" else "tf32x3"


def _readable(tensors: tuple[Tensor | None, ...]) -> list[Tensor | None]:
    """Return the tensors as the kernel gets them: contiguous, and float32 for bfloat16, which the interpreter lacks."""
    return [None if tensor is None else _as_read(tensor.contiguous()) for tensor in tensors]


def _as_read(tensor: Tensor) -> Tensor:
    return tensor.float() if interpreting() and tensor.dtype == torch.bfloat16 else tensor
