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

import functools
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple

import torch
from torch import Tensor

from kernels.triton import available

HELD_BYTES = 128 << 10  # of recurrent weights in one program
SPARE_BYTES = 8 << 10  # of its memory, for what the compiler puts there
LEAST_UNITS = 16  # of a program
SPREAD_UNITS = 16  # down to so many, programs of a group share their units with processors that have nothing to do
PIECES = 4  # of held weights: blocks are halved until there are so many; where H is odd there may be one more
STREAMED_UNITS, STREAMED_BLOCK = 32, 64  # where the weights do not fit: read again in every step
SUMS = 64  # of a thread, where a warp has all sums of its part
HEIGHTS = (16, 32)  # rows of the batch in a tile
ELEMENTS = 1024  # of a program at least, where each is worked on alone
COUNTERS = 32  # int32 for a group, so that each has a cache line of its own; the kernels use the first
OPTIONS = {"num_stages": 1, "enable_fp_fusion": True}  # a loop says itself what it reads ahead
RUN_TIME = ["B", "first_step", "end_step", "first_tile"]  # arguments for whose values nothing is compiled anew


class Device(NamedTuple):
    """What a plan must know of a device.

    Args:
        processors: multiprocessors, each of which runs one program at a time.
        memory: bytes of shared memory that a program can have.
    """

    processors: int
    memory: int


INTERPRETED = Device(processors=4, memory=227 << 10)


class Plan(NamedTuple):
    """How one pass of a layer is spread.

    Args:
        units: units of a program.
        programs: programs of a group.
        block: units of the states that are multiplied at a time, a power of two.
        pieces: of so many units, in which the weights are held on the chip; 0 where they are read in every step.
        rows: rows of the batch in a tile.
        split: parts of a sum that are added up apart, each by a warp.
        warps: of a program.
    """

    units: int
    programs: int
    block: int
    pieces: int
    rows: int
    split: int
    warps: int


def shared_bytes(gates: int, size: int, reverse: bool, units: int, block: int, pieces: int, rows: int) -> int:
    """Return the shared memory that a program needs: its weights and a block of states, or two blocks of both.

    The arguments are those of `plan` and of a `Plan`.
    """
    weights, states = gates * units * block * size, rows * block * size * (gates if reverse else 1)
    return SPARE_BYTES + (pieces * weights + states if pieces else 2 * (weights + states))  # one is read ahead


def plan(gates: int, H: int, B: int, size: int, reverse: bool, device: Device, summed: int | None = None) -> Plan:
    """Return how to spread a pass over a batch of B rows.

    On B depend the height of a tile and, in a group, the units of a program: fewer where processors would idle.

    Args:
        gates: of the cell, those that see the state.
        H: units.
        B: rows of the batch.
        size: bytes that a weight takes on the chip.
        reverse: whether it is the backward pass, which reads the gradients of all gates in a step, not one state.
        device: what it runs on.
        summed: gates over whose gradients the shortest product of a step sums, going back; all where None.

    Raises:
        ValueError: if a layer is too large for the device.
    """
    width = max(LEAST_UNITS, 1 << (H - 1).bit_length())

    def fits(units: int, block: int, pieces: int, rows: int = HEIGHTS[0]) -> bool:
        held = gates * units * block * size * pieces
        return held <= HELD_BYTES and shared_bytes(gates, size, reverse, units, block, pieces, rows) <= device.memory

    units, block, pieces = width, width, 1
    while units > LEAST_UNITS and not fits(units, block, pieces):
        units //= 2
    while pieces < PIECES and not fits(units, block, pieces):
        block //= 2
        pieces = -(-H // block)
    if not fits(units, block, pieces) or -(-H // units) > device.processors:
        units, block, pieces = min(STREAMED_UNITS, width), min(STREAMED_BLOCK, width), 0
    while -(-H // units) > device.processors:
        units *= 2
    while block > LEAST_UNITS and not fits(units, block, pieces):
        block //= 2
    tiles = -(-B // HEIGHTS[0])
    while H > units >= 2 * SPREAD_UNITS and 2 * tiles * -(-H // units) <= device.processors:
        units //= 2
    programs = -(-H // units)
    alone_in_blocks = programs == 1 and pieces != 1  # kernels read no blocks of a state that is their own
    if alone_in_blocks or not fits(units, block, pieces):
        memory = f"{device.processors} processors of {device.memory >> 10} KiB"
        raise ValueError(f"H={H} is too large for a device with {memory}")
    if gates * H * H >= 1 << 31:
        raise ValueError(f"H={H} is too large: its kernels find recurrent weights by 32 bits")
    heights = [rows for rows in HEIGHTS if rows == HEIGHTS[0] or fits(units, block, pieces, rows)]
    rows = next((rows for rows in heights if -(-B // rows) * programs <= device.processors), heights[-1])
    warps = 4 if units <= 32 else 8
    sums = rows * units * (1 if reverse else gates)
    length = block * (summed or gates if reverse else 1)  # of a sum
    held = gates * units * block * size * pieces
    exchanged = held + 4 * warps * sums + SPARE_BYTES  # all sums' parts, beside the weights
    few = sums <= 32 * SUMS and exchanged <= device.memory and length >= 16 * warps
    alone = programs == 1 and not reverse  # its state stays in one piece
    return Plan(units, programs, block, pieces, rows, warps if few and not alone else 1, warps)


def refusal(gates: int, H: int, dtype: torch.dtype, device: str) -> str | None:
    """Say in one sentence why a layer does not fit a device, None if it does.

    Args:
        gates: of the cell, those that see the state.
        H: units.
        dtype: of the weights.
        device: such as "cuda:0".
    """
    return _misfit(gates, H, _precision(dtype)[1], _device(torch.device(device)))


@functools.cache  # every call of a layer asks
def _misfit(gates: int, H: int, size: int, device: Device) -> str | None:
    try:
        for reverse in (False, True):
            plan(gates, H, 1, size, reverse, device)
    except ValueError as reason:
        return str(reason)
    return None


refusal._dynamo_marked_constant = True  # type: ignore[attr-defined]  # as of `available._unfit`


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
    limits = _device(device)
    precision, size = _precision(weight.dtype)
    own = plan(len(weight) // H, H, B, size, reverse, limits, summed)
    sizes = {"ROWS": own.rows, "UNITS": own.units, "BLOCK": own.block, "PIECES": own.pieces, "SPLIT": own.split}
    tiles, alone = -(-B // own.rows), own.programs == 1
    at_once = tiles if alone else limits.processors // own.programs
    stepwise = not alone and available.INTERPRETING
    spans = [(t, t + 1) for t in range(T)] if stepwise else [(0, T)]
    options = OPTIONS if alone or available.INTERPRETING else {**OPTIONS, "launch_cooperative_grid": True}
    if reverse:
        weight = weight.T
    if precision == "tf32" and own.pieces == 0:
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
                    PRECISION=precision, num_warps=own.warps, **options,
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


def _device(device: torch.device) -> Device:
    if device.type != "cuda":
        return INTERPRETED
    properties: Any = torch.cuda.get_device_properties(device)
    return Device(properties.multi_processor_count, properties.shared_memory_per_block_optin)


def _precision(dtype: torch.dtype) -> tuple[str, int]:
    """Return how a dtype is multiplied, and the bytes that a weight then takes on the chip.

    float32 goes as torch does where TF32 is on, else in three products of halves of the numbers, which is nearly exact.
    """
    if dtype != torch.float32:
        return "ieee", dtype.itemsize
    if torch.backends.cuda.matmul.fp32_precision == "tf32":
        return "tf32", dtype.itemsize
    return "tf32x3", 2 * dtype.itemsize


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
