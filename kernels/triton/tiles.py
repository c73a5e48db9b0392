"""What all kernels share: their place in the grid, tiles of states and weights, functions, the meeting of a group."""

import triton
import triton.language as tl

from kernels.triton import launch

COUNTERS = tl.constexpr(launch.COUNTERS)


@triton.jit
def place(
    counters: tl.tensor, first_tile: tl.tensor, PROGRAMS: tl.constexpr, ROWS: tl.constexpr, UNITS: tl.constexpr
) -> tuple[tl.tensor, tl.tensor, tl.tensor, tl.tensor]:
    """Return the group's counter, its rows of the batch [ROWS, 1], the program's first unit and units [1, UNITS]."""
    program = tl.program_id(0)
    group = program // PROGRAMS
    rows = (first_tile + group) * ROWS + tl.arange(0, ROWS)
    first_unit = program % PROGRAMS * UNITS
    units = first_unit + tl.arange(0, UNITS)
    return counters + group * COUNTERS, rows[:, None].to(tl.int64), first_unit, units[None, :]


@triton.jit
def fetch(array: tl.tensor, mask: tl.tensor) -> tl.tensor:
    """Return values, 0 outside the mask. What a step reads is fetched all at once, and only then made float32."""
    return tl.load(array, mask=mask, other=0.0)


@triton.jit
def read(array: tl.tensor, mask: tl.tensor) -> tl.tensor:
    """Return values in float32, 0 outside the mask."""
    return fetch(array, mask).to(tl.float32)


@triton.jit
def factor(x: tl.tensor, dtype: tl.constexpr, PRECISION: tl.constexpr) -> tl.tensor:
    """Return values as they are multiplied: in a dtype, and for TF32 rounded to its 10 bits, or others would be cut."""
    x = x.to(dtype)
    if PRECISION == "tf32":
        bits = x.to(tl.int32, bitcast=True)
        bits = tl.where(x == x, (bits + 0x1000) & -0x2000, bits)  # of a NaN nothing but 0 might be left
        x = bits.to(tl.float32, bitcast=True)
    return x


@triton.jit
def share_rows(tokens: tl.tensor, t: tl.tensor, rows: tl.tensor, B: tl.tensor) -> tl.tensor:
    """Return the rows of the inputs' share of the gates in step t: of the table where there are tokens."""
    own = t * B.to(tl.int64) + rows
    if tokens is not None:
        own = tl.load(tokens + own, mask=rows < B, other=0).to(tl.int64)
    return own


@triton.jit
def write_state(
    state: tl.tensor, states: tl.tensor, told: tl.tensor, t: tl.tensor, slab: tl.tensor, own: tl.tensor,
    mask: tl.tensor, dtype: tl.constexpr, PRECISION: tl.constexpr
) -> None:  # fmt: skip
    """Write the states after step t, and what the group is to multiply, where that is not the same."""
    tl.store(states + t * slab + own, state, mask=mask)
    if told is not None:
        tl.store(told + (t + 1) * slab + own, factor(state, dtype, PRECISION), mask=mask)


@triton.jit
def before(first: tl.tensor, states: tl.tensor, t: tl.tensor, slab: tl.tensor) -> tl.tensor:
    """Return the address of the states before step t: `first` before step 0, slabs of `states` after it."""
    return first if t == 0 else states + (t - 1) * slab


@triton.jit
def state_tile(
    states: tl.tensor, rows: tl.tensor, k: tl.tensor, B: tl.tensor, H: tl.constexpr, STRIDE: tl.constexpr,
    INNER: tl.constexpr, BLOCK: tl.constexpr, SPLIT: tl.constexpr
) -> tl.tensor:  # fmt: skip
    """Return some rows of an array whose rows are STRIDE long; 0 beyond B and H.

    Of each of the INNER vectors of H that stand side by side in a row, it has units k … k + BLOCK − 1:
    [ROWS, INNER · BLOCK], or these columns in SPLIT parts [SPLIT, ROWS, INNER · BLOCK / SPLIT].
    """
    PART: tl.constexpr = INNER * BLOCK // SPLIT
    if SPLIT == 1:
        column = tl.arange(0, PART)[None, :]
    else:
        column = tl.arange(0, SPLIT)[:, None, None] * PART + tl.arange(0, PART)[None, None, :]
        rows = rows[None, :, :]
    unit = k + column % BLOCK
    return tl.load(states + rows * STRIDE + column // BLOCK * H + unit, mask=(rows < B) & (unit < H), other=0.0)


@triton.jit
def weight_tile(
    weight: tl.tensor, k: tl.tensor, first_unit: tl.tensor, H: tl.constexpr, STRIDE: tl.constexpr,
    INNER: tl.constexpr, OUTER: tl.constexpr, UNITS: tl.constexpr, BLOCK: tl.constexpr, SPLIT: tl.constexpr
) -> tl.tensor:  # fmt: skip
    """Return the transpose of a program's part of a weight [OUTER · H, INNER · H], whose rows are STRIDE apart.

    Its rows are the program's units in each of the OUTER gates, its columns those of `state_tile`:
    [INNER · BLOCK, OUTER · UNITS], or [SPLIT, INNER · BLOCK / SPLIT, OUTER · UNITS]; 0 beyond H.
    """
    PART: tl.constexpr = INNER * BLOCK // SPLIT
    if SPLIT == 1:
        row, column = tl.arange(0, OUTER * UNITS)[None, :], tl.arange(0, PART)[:, None]
    else:
        row = tl.arange(0, OUTER * UNITS)[None, None, :]
        column = tl.arange(0, SPLIT)[:, None, None] * PART + tl.arange(0, PART)[None, :, None]
    to, source = first_unit + row % UNITS, k + column % BLOCK
    own = (row // UNITS * H + to) * STRIDE + column // BLOCK * H + source
    return tl.load(weight + own, mask=(to < H) & (source < H), other=0.0)


@triton.jit
def held_tiles(
    weight: tl.tensor, first_unit: tl.tensor, H: tl.constexpr, STRIDE: tl.constexpr, INNER: tl.constexpr,
    OUTER: tl.constexpr, UNITS: tl.constexpr, BLOCK: tl.constexpr, PIECES: tl.constexpr, SPLIT: tl.constexpr,
    PRECISION: tl.constexpr
) -> tl.tuple:  # fmt: skip
    """Return the tuple of all `weight_tile`s of a program, which it holds, as factors."""
    held = ()
    for piece in tl.static_range(PIECES):
        tile = weight_tile(weight, piece * BLOCK, first_unit, H, STRIDE, INNER, OUTER, UNITS, BLOCK, SPLIT)
        held = held + (factor(tile, weight.dtype.element_ty, PRECISION),)  # type: ignore[assignment] # noqa: RUF005
    return held


@triton.jit
def product(
    own: tl.tensor, states: tl.tensor, held: tl.tuple, weight: tl.tensor, rows: tl.tensor, first_unit: tl.tensor,
    B: tl.tensor, H: tl.constexpr, STATE_STRIDE: tl.constexpr, WEIGHT_STRIDE: tl.constexpr, INNER: tl.constexpr,
    OUTER: tl.constexpr, ROWS: tl.constexpr, UNITS: tl.constexpr, BLOCK: tl.constexpr, PIECES: tl.constexpr,
    SPLIT: tl.constexpr, PRECISION: tl.constexpr
) -> tl.tensor:  # fmt: skip
    """Return states times weights [ROWS, OUTER · UNITS], a gate after the other, in float32.

    The states are the program's own [ROWS, INNER · UNITS], or None and read; the weights are held in PIECES, or None
    and read, in blocks. Where columns come in parts, a warp multiplies each: it reads no states of other parts, and
    chains of sums are short.
    """
    if SPLIT == 1:
        result = tl.zeros([ROWS, OUTER * UNITS], tl.float32)
    else:
        result = tl.zeros([SPLIT, ROWS, OUTER * UNITS], tl.float32)
    if held is None:
        for k in tl.range(0, H, BLOCK, num_stages=3):
            x = state_tile(states, rows, k, B, H, STATE_STRIDE, INNER, BLOCK, SPLIT)
            w = weight_tile(weight, k, first_unit, H, WEIGHT_STRIDE, INNER, OUTER, UNITS, BLOCK, SPLIT)
            result = tl.dot(x, w, result, input_precision=PRECISION)
    else:
        for piece in tl.static_range(PIECES):
            if own is None:
                x = state_tile(states, rows, piece * BLOCK, B, H, STATE_STRIDE, INNER, BLOCK, SPLIT)
            elif H < UNITS:  # of units beyond H anything may have been made: their weights are 0, but 0 times ∞ is NaN
                x = tl.where(tl.arange(0, UNITS)[None, :] < H, own, 0.0)
            else:
                x = own
            result = tl.dot(x, held[piece], result, input_precision=PRECISION)
    return result if SPLIT == 1 else total(result, SPLIT, ROWS, OUTER * UNITS)


@triton.jit
def total(parts: tl.tensor, SPLIT: tl.constexpr, ROWS: tl.constexpr, WIDTH: tl.constexpr) -> tl.tensor:
    """Return the sum [ROWS, WIDTH] of 4 or 8 parts [SPLIT, ROWS, WIDTH]; tl.sum would leave all of it to every warp."""
    parts = tl.permute(parts, (1, 2, 0))
    if SPLIT == 8:
        even, odd = tl.split(parts.reshape(ROWS, WIDTH, 4, 2))
        parts = even + odd
    even, odd = tl.split(parts.reshape(ROWS, WIDTH, 2, 2))
    even, odd = tl.split(even + odd)
    return even + odd


@triton.jit
def halves(x: tl.tensor, ROWS: tl.constexpr, UNITS: tl.constexpr) -> tuple[tl.tensor, tl.tensor]:
    """Return two gates that stand side by side [ROWS, 2 · UNITS]."""
    return tl.split(tl.permute(x.reshape(ROWS, 2, UNITS), (0, 2, 1)))


@triton.jit
def four_gates(
    x: tl.tensor, ROWS: tl.constexpr, UNITS: tl.constexpr
) -> tuple[tl.tensor, tl.tensor, tl.tensor, tl.tensor]:
    """Return four gates that stand side by side [ROWS, 4 · UNITS]."""
    even, odd = tl.split(tl.permute(x.reshape(ROWS, 4, UNITS), (0, 2, 1)).reshape(ROWS, UNITS, 2, 2))
    first, third = tl.split(even)
    second, fourth = tl.split(odd)
    return first, second, third, fourth


@triton.jit
def tanh(x: tl.tensor) -> tl.tensor:
    """Return the hyperbolic tangent, as 2 σ(2x) − 1."""
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
def arrive(counter: tl.tensor, PROGRAMS: tl.constexpr) -> None:
    """Tell the group that this program's results of a step are in memory."""
    tl.debug_barrier()  # every warp has written its own; the release of one thread then covers them all
    if PROGRAMS > 1:
        tl.atomic_add(counter, 1, sem="release")


@triton.jit
def wait(counter: tl.tensor, steps: tl.tensor, PROGRAMS: tl.constexpr) -> None:
    """Wait until the group's results of so many steps have been told of; all that they tell of can be read then."""
    if PROGRAMS > 1:
        while tl.atomic_add(counter, 0, sem="acquire") < steps * PROGRAMS:
            pass
        tl.debug_barrier()  # no warp reads before the acquire
