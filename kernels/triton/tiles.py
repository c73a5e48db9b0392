"""What all kernels share: their place in the grid, tiles of states and weights, functions, the meeting of a group."""

import triton
import triton.language as tl

from kernels.triton import launch

COUNTERS = tl.constexpr(launch.COUNTERS)


@triton.jit
def place(
    counters: tl.tensor, first_tile: tl.tensor, PROGRAMS: tl.constexpr, ROWS: tl.constexpr, UNITS: tl.constexpr
) -> tuple[tl.tensor, tl.tensor, tl.tensor]:
    """Return the group's counter, its rows of the batch [ROWS, 1] and the program's units [1, UNITS]."""
    program = tl.program_id(0)
    group = program // PROGRAMS
    rows = (first_tile + group) * ROWS + tl.arange(0, ROWS)
    units = program % PROGRAMS * UNITS + tl.arange(0, UNITS)
    return counters + group * COUNTERS, rows[:, None].to(tl.int64), units[None, :]


@triton.jit
def fetch(array: tl.tensor, mask: tl.tensor) -> tl.tensor:
    """Return values, 0 outside the mask. What a step reads is fetched all at once, and only then made float32."""
    return tl.load(array, mask=mask, other=0.0)


@triton.jit
def read(array: tl.tensor, mask: tl.tensor) -> tl.tensor:
    """Return values in float32, 0 outside the mask."""
    return fetch(array, mask).to(tl.float32)


@triton.jit
def share_rows(tokens: tl.tensor, t: tl.tensor, rows: tl.tensor, B: tl.tensor) -> tl.tensor:
    """Return the rows of the inputs' share of the gates in step t: of the table where there are tokens."""
    own = t * B.to(tl.int64) + rows
    if tokens is not None:
        own = tl.load(tokens + own, mask=rows < B, other=0).to(tl.int64)
    return own


@triton.jit
def before(first: tl.tensor, states: tl.tensor, t: tl.tensor, slab: tl.tensor) -> tl.tensor:
    """Return the address of the states before step t: `first` before step 0, slabs of `states` after it."""
    return first if t == 0 else states + (t - 1) * slab


@triton.jit
def state_block(
    states: tl.tensor, rows: tl.tensor, k: tl.tensor, B: tl.tensor, H: tl.constexpr, STRIDE: tl.constexpr,
    BLOCK: tl.constexpr
) -> tl.tensor:  # fmt: skip
    """Return units k … k + BLOCK − 1 of some rows, [ROWS, BLOCK], of an array with rows of STRIDE; 0 beyond B and H."""
    units = k + tl.arange(0, BLOCK)[None, :]
    return tl.load(states + rows * STRIDE + units, mask=(rows < B) & (units < H), other=0.0)


@triton.jit
def weight_block(weight: tl.tensor, k: tl.tensor, units: tl.tensor, H: tl.constexpr, BLOCK: tl.constexpr) -> tl.tensor:
    """Return W[units, k … k + BLOCK − 1]ᵀ [BLOCK, UNITS] of a gate's weight [H, H]: from the state to the units."""
    source = k + tl.arange(0, BLOCK)[:, None]
    return tl.load(weight + units * H + source, mask=(source < H) & (units < H), other=0.0)


@triton.jit
def weight_block_back(
    weight: tl.tensor, k: tl.tensor, units: tl.tensor, H: tl.constexpr, BLOCK: tl.constexpr
) -> tl.tensor:
    """Return W[k … k + BLOCK − 1, units] [BLOCK, UNITS] of a gate's weight [H, H]: from gradients to the units."""
    source = k + tl.arange(0, BLOCK)[:, None]
    return tl.load(weight + source * H + units, mask=(source < H) & (units < H), other=0.0)


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
def arrive(counter: tl.tensor) -> None:
    """Tell the group that this program's results of a step are in memory."""
    tl.debug_barrier()  # every warp has written its own; the release of one thread then covers them all
    tl.atomic_add(counter, 1, sem="release")


@triton.jit
def wait(counter: tl.tensor, arrivals: tl.tensor) -> None:
    """Wait until so many results have been told of; all that they tell of can be read then."""
    while tl.atomic_add(counter, 0, sem="acquire") < arrivals:
        pass
    tl.debug_barrier()  # no warp reads before the acquire
