"""What the time loops in loops.py consist of: a program's place, tiles, products, functions, the barrier of a group."""

# ruff: noqa: RUF005 # Triton cannot unpack a tuple into another one

from typing import NamedTuple

import triton
import triton.language as tl

from kernels.triton import plan as planner

COUNTER_STRIDE = tl.constexpr(planner.COUNTER_STRIDE)


class Place(NamedTuple):
    """The part of a batch and of a layer that a program computes."""

    B: tl.tensor  # rows of the batch
    counter: tl.tensor  # address of the group's counter
    rows: tl.tensor  # rows of the batch [BLOCK_B, 1]
    first_unit: tl.tensor  # the program's first unit
    units: tl.tensor  # its units [1, BLOCK_H]
    own: tl.tensor  # its elements of an array [B, H], as offsets [BLOCK_B, BLOCK_H]
    mask: tl.tensor  # which of them exist
    step: tl.tensor  # distance of two steps in an array [T, B, H]


@triton.jit
def find_place(counters: tl.tensor, B: tl.tensor, first_tile: tl.tensor, plan: tl.constexpr) -> Place:
    """Return the place of this program; the arguments are those of the kernels in loops.py."""
    program = tl.program_id(0)
    group = program // plan.programs
    rows = (first_tile + group) * plan.BLOCK_B + tl.arange(0, plan.BLOCK_B)
    first_unit = program % plan.programs * plan.BLOCK_H
    units = first_unit + tl.arange(0, plan.BLOCK_H)
    rows, units = rows[:, None].to(tl.int64), units[None, :]
    counter, mask = counters + group * COUNTER_STRIDE, (rows < B) & (units < plan.H)
    return Place(B, counter, rows, first_unit, units, rows * plan.H + units, mask, B.to(tl.int64) * plan.H)


@triton.jit
def load(array: tl.tensor, mask: tl.tensor) -> tl.tensor:
    """Return values, 0 outside the mask."""
    return tl.load(array, mask=mask, other=0.0)


@triton.jit
def load_float32(array: tl.tensor, mask: tl.tensor) -> tl.tensor:
    """Return values in float32, 0 outside the mask."""
    return load(array, mask).to(tl.float32)


@triton.jit
def load_gates(array: tl.tensor, rows: tl.tensor, at: Place, GATES: tl.constexpr, plan: tl.constexpr) -> tl.tuple:
    """Return the program's units of each gate in some rows of an array [..., GATES * H]."""
    gates: tl.tuple = ()
    for gate in tl.static_range(GATES):
        gates = gates + (load(array + rows * (GATES * plan.H) + gate * plan.H + at.units, at.mask),)
    return gates


@triton.jit
def before(initial: tl.tensor, states: tl.tensor, t: tl.tensor, at: Place) -> tl.tensor:
    """Return the address of the states [B, H] before step t: `initial`, or step t - 1 of `states` [T, B, H]."""
    return initial if t == 0 else states + (t - 1) * at.step


@triton.jit
def as_factor(x: tl.tensor, dtype: tl.constexpr, plan: tl.constexpr) -> tl.tensor:
    """Return values as they are multiplied: in a dtype, for TF32 rounded to its 10 bits, which hardware would cut."""
    x = x.to(dtype)
    if plan.precision == "tf32":
        bits = x.to(tl.int32, bitcast=True)
        bits = tl.where(x == x, (bits + 0x1000) & -0x2000, bits)  # rounding could turn a NaN into a 0
        x = bits.to(tl.float32, bitcast=True)
    return x


@triton.jit
def state_tile(states: tl.tensor, k: tl.tensor, at: Place, factors: tl.constexpr, plan: tl.constexpr) -> tl.tensor:
    """Return units k ... k + BLOCK_K - 1 of each of the `inner` vectors in the program's rows; 0 beyond B and H.

    Its shape is [BLOCK_B, inner * BLOCK_K]; if sums are split, [split_k, BLOCK_B, inner * BLOCK_K / split_k].
    """
    PART: tl.constexpr = factors.inner * plan.BLOCK_K // plan.split_k
    rows = at.rows
    if plan.split_k == 1:
        column = tl.arange(0, PART)[None, :]
    else:
        column = tl.arange(0, plan.split_k)[:, None, None] * PART + tl.arange(0, PART)[None, None, :]
        rows = rows[None, :, :]
    unit = k + column % plan.BLOCK_K
    offsets = factors.state_offset + rows * factors.state_stride + column // plan.BLOCK_K * plan.H + unit
    return load(states + offsets, (rows < at.B) & (unit < plan.H))


@triton.jit
def weight_tile(weight: tl.tensor, k: tl.tensor, at: Place, factors: tl.constexpr, plan: tl.constexpr) -> tl.tensor:
    """Return the weights from the units of `state_tile` to the program's units in `outer` gates; 0 beyond H.

    Its shape is [inner * BLOCK_K, outer * BLOCK_H], or [split_k, inner * BLOCK_K / split_k, outer * BLOCK_H].
    """
    PART: tl.constexpr = factors.inner * plan.BLOCK_K // plan.split_k
    WIDTH: tl.constexpr = factors.outer * plan.BLOCK_H
    if plan.split_k == 1:
        row, column = tl.arange(0, WIDTH)[None, :], tl.arange(0, PART)[:, None]
    else:
        row = tl.arange(0, WIDTH)[None, None, :]
        column = tl.arange(0, plan.split_k)[:, None, None] * PART + tl.arange(0, PART)[None, :, None]
    unit, source = at.first_unit + row % plan.BLOCK_H, k + column % plan.BLOCK_K
    own = (row // plan.BLOCK_H * plan.H + unit) * factors.weight_stride + column // plan.BLOCK_K * plan.H + source
    return load(weight + factors.weight_offset + own, (unit < plan.H) & (source < plan.H))


@triton.jit
def load_weights(weight: tl.tensor, at: Place, FACTORS: tl.constexpr, plan: tl.constexpr) -> tl.tuple:
    """Return for each product its resident `weight_tile`s as factors; no tiles if the weights are streamed."""
    resident: tl.tuple = ()
    for k in tl.static_range(len(FACTORS)):
        resident = resident + (load_tiles(weight, at, FACTORS, k, plan),)
    return resident


@triton.jit
def load_tiles(
    weight: tl.tensor, at: Place, FACTORS: tl.constexpr, INDEX: tl.constexpr, plan: tl.constexpr
) -> tl.tuple:  # fmt: skip
    """Return the resident tiles of one product."""
    factors: tl.constexpr = FACTORS[INDEX]
    BLOCKS: tl.constexpr = plan.resident_blocks
    tiles: tl.tuple = ()
    for block in tl.static_range(BLOCKS):
        tile = weight_tile(weight, block * plan.BLOCK_K, at, factors, plan)
        tiles = tiles + (as_factor(tile, weight.dtype.element_ty, plan),)
    return tiles


@triton.jit
def multiply(
    own: tl.tensor, states: tl.tensor, resident: tl.tuple, weight: tl.tensor, at: Place, FACTORS: tl.constexpr,
    INDEX: tl.constexpr, plan: tl.constexpr,
) -> tl.tensor:  # fmt: skip
    """Return product INDEX of FACTORS, states times weights [BLOCK_B, outer * BLOCK_H], gate after gate, in float32.

    `own` are the states of a program that is alone in its group; others read them at `states`. The weights are
    `resident`, or read at `weight` if the plan streams them. If it splits sums, each warp computes a part of them, and
    reads the states of that part.
    """
    factors: tl.constexpr = FACTORS[INDEX]
    WIDTH: tl.constexpr = factors.outer * plan.BLOCK_H
    BLOCKS: tl.constexpr = plan.resident_blocks
    if plan.split_k == 1:
        result = tl.full([plan.BLOCK_B, WIDTH], 0.0, tl.float32)
    else:
        result = tl.full([plan.split_k, plan.BLOCK_B, WIDTH], 0.0, tl.float32)
    if BLOCKS == 0:
        for k in tl.range(0, plan.H, plan.BLOCK_K, num_stages=3):
            x = state_tile(states, k, at, factors, plan)
            w = weight_tile(weight, k, at, factors, plan)
            result = tl.dot(x, w, result, input_precision=plan.precision)
    else:
        for block in tl.static_range(BLOCKS):
            if own is None:
                x = state_tile(states, block * plan.BLOCK_K, at, factors, plan)
            elif plan.H < plan.BLOCK_H:  # units beyond H may be infinite; their weights are 0, and 0 * inf is NaN
                x = tl.where(at.units < plan.H, own, 0.0)
            else:
                x = own
            result = tl.dot(x, resident[block], result, input_precision=plan.precision)
    return result if plan.split_k == 1 else sum_parts(result, plan.split_k, plan.BLOCK_B, WIDTH)


@triton.jit
def sum_parts(parts: tl.tensor, PARTS: tl.constexpr, ROWS: tl.constexpr, WIDTH: tl.constexpr) -> tl.tensor:
    """Return the sum [ROWS, WIDTH] of 4 or 8 parts [PARTS, ROWS, WIDTH]; with tl.sum each warp would compute it all."""
    parts = tl.permute(parts, (1, 2, 0))
    if PARTS == 8:
        even, odd = tl.split(parts.reshape(ROWS, WIDTH, 4, 2))
        parts = even + odd
    even, odd = tl.split(parts.reshape(ROWS, WIDTH, 2, 2))
    even, odd = tl.split(even + odd)
    return even + odd


@triton.jit
def split_gates(x: tl.tensor, GATES: tl.constexpr, plan: tl.constexpr) -> tl.tuple:
    """Return the 1, 2 or 4 gates that stand side by side in [BLOCK_B, GATES * BLOCK_H]."""
    gates: tl.tuple = (x,)
    if GATES == 2:
        first, second = tl.split(tl.permute(x.reshape(plan.BLOCK_B, 2, plan.BLOCK_H), (0, 2, 1)))
        gates = (first, second)
    elif GATES == 4:
        x = tl.permute(x.reshape(plan.BLOCK_B, 4, plan.BLOCK_H), (0, 2, 1))
        even, odd = tl.split(x.reshape(plan.BLOCK_B, plan.BLOCK_H, 2, 2))
        first, third = tl.split(even)
        second, fourth = tl.split(odd)
        gates = (first, second, third, fourth)
    return gates


@triton.jit
def tanh(x: tl.tensor) -> tl.tensor:
    """Return the hyperbolic tangent, as 2 σ(2x) - 1."""
    return 2.0 * tl.sigmoid(2.0 * x) - 1.0


@triton.jit
def candidate(x: tl.tensor, TANH: tl.constexpr) -> tl.tensor:
    """Return the candidate's function of x, tanh or σ."""
    return tanh(x) if TANH else tl.sigmoid(x)


@triton.jit
def candidate_slope(value: tl.tensor, TANH: tl.constexpr) -> tl.tensor:
    """Return the derivative of the candidate's function where it has a value."""
    return 1.0 - value * value if TANH else value * (1.0 - value)


@triton.jit
def arrive(at: Place, plan: tl.constexpr) -> None:
    """Count this program's results of a step as written."""
    tl.debug_barrier()  # all warps have written; the release of one thread then covers them all
    if plan.programs > 1:
        tl.atomic_add(at.counter, 1, sem="release")


@triton.jit
def wait(at: Place, steps: tl.tensor, plan: tl.constexpr) -> None:
    """Wait until all programs of the group have written their results of `steps` steps."""
    if plan.programs > 1:
        while tl.atomic_add(at.counter, 0, sem="acquire") < steps * plan.programs:
            pass
        tl.debug_barrier()  # no warp reads before the acquire
