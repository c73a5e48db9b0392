"""How a time loop is divided among the programs of a GPU kernel.

The batch is cut into tiles of BLOCK_B rows. A group of programs computes all steps of one tile. Each program of the
group owns BLOCK_H of the H units, with all their gates, and keeps its rows of the recurrent weights on the chip. A
small layer needs one program for a tile; a larger layer needs as many as hold its weights. Weights that still do not
fit are streamed: read again in every step. A cell that sums over all units of a row always has one program for a tile.

All programs of a group must run at the same time, because in every step they wait for each other. So a group never has
more programs than the device has multiprocessors.

A kernel is compiled for a cell, H, a dtype and a plan. A plan depends on the batch size in few ways and on the number
of steps not at all.

Legend: B batch, H hidden.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import torch

RESIDENT_BYTES = 128 << 10  # recurrent weights that one program keeps at most
COMPILER_BYTES = 8 << 10  # shared memory left to the compiler
MIN_BLOCK_H = 16
SPREAD_BLOCK_H = 16  # a group spreads over idle processors until a program owns so few units
MAX_SUM = 1024  # terms of a sum that are loaded at a time; more do not fit into registers
MAX_RESIDENT_BLOCKS = 4  # blocks are halved until there are so many; with an odd H there may be one more
STREAMED_BLOCK_H, STREAMED_BLOCK_K = 32, 64
SPLIT_SUMS = 64  # sums of one thread, at most, where each warp computes a part of every sum
MAX_ROW = 512  # units of a program that computes whole rows
BLOCKS_B = (16, 32)
COUNTER_STRIDE = 32  # int32 between the counters of two groups, so that each has a cache line of its own
PRECISION = {2: "ieee", 4: "tf32", 8: "tf32x3"}  # of tl.dot, by the bytes of a weight on the chip


class Device(NamedTuple):
    """What a plan needs to know about a device."""

    processors: int  # number of multiprocessors; each runs one program at a time
    memory: int  # bytes of shared memory that one program can have


INTERPRETED = Device(processors=4, memory=227 << 10)


class Plan(NamedTuple):
    """How one pass of a layer is divided. Kernels take it as one compile-time constant."""

    H: int  # units of the layer
    BLOCK_B: int  # batch rows of a tile
    BLOCK_H: int  # units of a program
    BLOCK_K: int  # units of the previous state that are multiplied at a time, a power of two
    programs: int  # programs of a group
    resident_blocks: int  # blocks of BLOCK_K columns in which the weights are kept on the chip; 0 if they are streamed
    split_k: int  # parts into which each sum is split; each part is computed by one warp
    precision: str  # `input_precision` of tl.dot
    num_warps: int  # warps of a program


def shared_bytes(gates: int, size: int, reverse: bool, BLOCK_B: int, BLOCK_H: int, BLOCK_K: int, blocks: int) -> int:
    """Return the shared memory that a program needs.

    It holds the resident weights and one block of states, or two streamed blocks of both, one of them read ahead.
    `blocks` is resident_blocks; the other arguments are those of `make_plan` and `Plan`.
    """
    weights, states = gates * BLOCK_H * BLOCK_K * size, BLOCK_B * BLOCK_K * size * (gates if reverse else 1)
    return COMPILER_BYTES + (blocks * weights + states if blocks else 2 * (weights + states))


@functools.cache  # every pass of a layer asks
def make_plan(
    gates: int, H: int, B: int, size: int, reverse: bool, device: Device, summed: int | None = None,
    whole_rows: bool = False,
) -> Plan:  # fmt: skip
    """Return how to divide a pass.

    The batch size decides BLOCK_B and, for a group, BLOCK_H: a small batch gets more and smaller programs, so that no
    processors are idle.

    Args:
        gates: number of gates with a recurrent product.
        H: units of the layer.
        B: rows of the batch.
        size: bytes of a weight on the chip, as `weight_bytes` returns it.
        reverse: whether this is the backward pass. It multiplies the gradients of all gates, not one state.
        device: the device that runs it.
        summed: number of gates in the shortest sum of the backward pass; all gates if None.
        whole_rows: whether one program computes whole rows. It multiplies gate by gate.

    Raises:
        ValueError: if the layer is too large for the device.
    """
    if whole_rows and H > MAX_ROW:
        raise ValueError(
            f"H={H} is too large: one program computes whole rows of this cell, of at most {MAX_ROW} units"
        )

    def fits(BLOCK_H: int, BLOCK_K: int, blocks: int, BLOCK_B: int = BLOCKS_B[0]) -> bool:
        resident = gates * BLOCK_H * BLOCK_K * size * blocks
        at_once = 1 if whole_rows and not blocks else gates
        needed = shared_bytes(at_once, size, reverse, BLOCK_B, BLOCK_H, BLOCK_K, blocks)
        loaded = BLOCK_K * (gates if reverse else 1)
        return resident <= RESIDENT_BYTES and needed <= device.memory and (loaded <= MAX_SUM or not blocks)

    width = max(MIN_BLOCK_H, 1 << (H - 1).bit_length())  # of a block of all units
    if whole_rows:
        BLOCK_H, BLOCK_K, blocks = (width, width, 1) if fits(width, width, 1) else _stream(width, width, fits)
    else:
        BLOCK_H, BLOCK_K, blocks = _divide_units(H, B, width, device.processors, fits)
    programs = -(-H // BLOCK_H)
    split_own_state = programs == 1 and blocks != 1 and not whole_rows  # a program alone keeps its state in one block
    if split_own_state or not fits(BLOCK_H, BLOCK_K, blocks):
        memory = f"{device.processors} processors of {device.memory >> 10} KiB"
        raise ValueError(f"H={H} is too large for a device with {memory}")
    if gates * H * H >= 1 << 31:
        raise ValueError(f"H={H} is too large: its kernels index recurrent weights with 32 bits")
    heights = BLOCKS_B[:1] if whole_rows else BLOCKS_B  # registers hold no more
    fitting = [rows for rows in heights if fits(BLOCK_H, BLOCK_K, blocks, rows)]
    BLOCK_B = next((rows for rows in fitting if -(-B // rows) * programs <= device.processors), fitting[-1])
    warps = 4 if BLOCK_H <= 32 else 8
    if whole_rows and BLOCK_H > 256:
        warps = 16  # with 8 it takes twice as long to compile, and spills more where there are lengths and resets
    plan = Plan(H, BLOCK_B, BLOCK_H, BLOCK_K, programs, blocks, warps, PRECISION[size], warps)
    length = BLOCK_K * (summed or gates if reverse else 1)  # of a sum
    alone = programs == 1 and not reverse  # its state stays in one piece
    if alone or length < 16 * warps or not _split_fits(plan, gates, size, reverse, device):
        return plan._replace(split_k=1)
    return plan


def _divide_units(H: int, B: int, width: int, processors: int, fits: Callable[..., bool]) -> tuple[int, int, int]:
    """Return BLOCK_H, BLOCK_K and resident_blocks for programs that share the units of a layer.

    `width` is that of a block of all units; fits(BLOCK_H, BLOCK_K, resident_blocks) tells whether a program has room.
    """
    BLOCK_H, BLOCK_K, blocks = width, width, 1
    while BLOCK_H > MIN_BLOCK_H and not fits(BLOCK_H, BLOCK_K, blocks):  # more programs
        BLOCK_H //= 2
    while blocks < MAX_RESIDENT_BLOCKS and not fits(BLOCK_H, BLOCK_K, blocks):  # the state in more blocks
        BLOCK_K //= 2
        blocks = -(-H // BLOCK_K)
    if not fits(BLOCK_H, BLOCK_K, blocks) or processors * BLOCK_H < H:
        BLOCK_H = min(STREAMED_BLOCK_H, width)
        while processors * BLOCK_H < H:
            BLOCK_H *= 2
        BLOCK_H, BLOCK_K, blocks = _stream(BLOCK_H, width, fits)
    tiles = -(-B // BLOCKS_B[0])
    while H > BLOCK_H >= 2 * SPREAD_BLOCK_H and 2 * tiles * -(-H // BLOCK_H) <= processors:  # processors are idle
        BLOCK_H //= 2
    return BLOCK_H, BLOCK_K, blocks


def _stream(BLOCK_H: int, width: int, fits: Callable[..., bool]) -> tuple[int, int, int]:
    """Return BLOCK_H, BLOCK_K and resident_blocks for weights that are streamed; arguments as in `_divide_units`."""
    BLOCK_K = min(STREAMED_BLOCK_K, width)
    while BLOCK_K > MIN_BLOCK_H and not fits(BLOCK_H, BLOCK_K, 0):
        BLOCK_K //= 2
    return BLOCK_H, BLOCK_K, 0


def _split_fits(plan: Plan, gates: int, size: int, reverse: bool, device: Device) -> bool:
    """Return whether registers and shared memory can hold every warp's part of all sums."""
    sums = plan.BLOCK_B * plan.BLOCK_H * (1 if reverse else gates)
    resident = gates * plan.BLOCK_H * plan.BLOCK_K * size * plan.resident_blocks
    exchanged = resident + 4 * plan.num_warps * sums + COMPILER_BYTES
    return sums <= 32 * SPLIT_SUMS and exchanged <= device.memory


def refusal(gates: int, H: int, dtype: torch.dtype, device: str, whole_rows: bool = False) -> str | None:
    """Return in one sentence why a layer does not fit a device, such as "cuda:0"; None if it does."""
    return _misfit(gates, H, weight_bytes(dtype), device_limits(torch.device(device)), whole_rows)


@functools.cache  # every call of a layer asks
def _misfit(gates: int, H: int, size: int, device: Device, whole_rows: bool) -> str | None:
    try:
        for reverse in (False, True):
            make_plan(gates, H, 1, size, reverse, device, None, whole_rows)
    except ValueError as reason:
        return str(reason)
    return None


def streams(gates: int, H: int, dtype: torch.dtype, device: str, whole_rows: bool = False) -> bool:
    """Return whether a layer that fits a device reads its recurrent weights again in every step of a pass."""
    size, limits = weight_bytes(dtype), device_limits(torch.device(device))
    plans = [make_plan(gates, H, 1, size, reverse, limits, None, whole_rows) for reverse in (False, True)]
    return any(own.resident_blocks == 0 for own in plans)


refusal._dynamo_marked_constant = True  # type: ignore[attr-defined]  # see `available._unfit`
streams._dynamo_marked_constant = True  # type: ignore[attr-defined]


def device_limits(device: torch.device) -> Device:
    """Return the limits of a device; for a CPU, those that the interpreter assumes."""
    if device.type != "cuda":
        return INTERPRETED
    return _cuda_limits(device)


@functools.cache
def _cuda_limits(device: torch.device) -> Device:
    properties: Any = torch.cuda.get_device_properties(device)
    return Device(properties.multi_processor_count, properties.shared_memory_per_block_optin)


def weight_bytes(dtype: torch.dtype) -> int:
    """Return the bytes that a weight takes on the chip.

    float32 weights are multiplied in TF32 if torch's matmuls are. Otherwise each is kept as two TF32 numbers, and a
    product is the sum of three ("tf32x3"), which is nearly exact.
    """
    if dtype == torch.float32 and torch.backends.cuda.matmul.fp32_precision != "tf32":
        return 2 * dtype.itemsize
    return dtype.itemsize
