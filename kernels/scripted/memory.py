"""Large buffers that do not go back to the system between two steps.

torch gives a freed CPU tensor of some megabytes back to the system. The pages of the next one are zeroed and mapped
again when they are first touched, which takes a good part of a recurrent training step. A `workspace` is an ordinary
tensor whose memory is kept for the next one, once the last tensor on it is gone. Memory kept and in use together never
exceeds the most that has been in use at one time.
"""

import mmap
import threading
import weakref
from typing import NamedTuple

import torch
from torch import Tensor

LEAST_BYTES = 1 << 20  # below, the allocator keeps memory itself


class Held(NamedTuple):
    """Bytes of workspaces: in use now, in use at most at one time, and kept."""

    in_use: int
    peak: int
    kept: int


_lock = threading.RLock()  # one that its holder can take again: a block may be given back in the middle of taking one
_blocks: list[mmap.mmap] = []  # kept, the newest last
_in_use = _peak = 0


def workspace(like: Tensor, *shape: int) -> Tensor:
    """Return an uninitialised tensor of a shape, with the dtype and device of `like`.

    On a device that is not a CPU, where torch keeps memory itself, it is just `like.new_empty(shape)`.

    Raises:
        MemoryError: if there is not so much memory.
    """
    size = like.element_size()
    for axis in shape:
        size *= axis
    if like.device.type != "cpu" or size < LEAST_BYTES:
        return like.new_empty(shape)
    try:
        with _lock:
            block = _take(_rounded(size))
    except (OSError, OverflowError) as error:
        raise MemoryError(f"cannot have {size:,} bytes for a buffer of {list(shape)}") from error
    view = memoryview(block)  # lives as long as any tensor on this memory
    weakref.finalize(view, _give_back, block).atexit = False
    return torch.frombuffer(view, dtype=like.dtype, count=size // like.element_size()).view(shape)


def held() -> Held:
    """Return how much memory workspaces hold."""
    return Held(_in_use, _peak, sum(map(len, _blocks)))


def release() -> None:
    """Give the memory that is kept back to the system."""
    global _peak
    with _lock:
        _blocks.clear()
        _peak = _in_use


def _rounded(size: int) -> int:
    """Return a size's block: up to an eighth larger, so that batches of nearly the same length share blocks."""
    unit = max(mmap.PAGESIZE, 1 << max(0, size.bit_length() - 4))
    return -(-size // unit) * unit


def _take(size: int) -> mmap.mmap:
    """Return a kept block of that size, or a new one."""
    global _in_use, _peak
    block = next((kept for kept in reversed(_blocks) if len(kept) == size), None)
    if block is None:
        block = _new(size)
    else:
        _blocks.remove(block)
    _in_use += size
    _peak = max(_peak, _in_use)
    _shrink()
    return block


def _new(size: int) -> mmap.mmap:
    private = getattr(mmap, "MAP_PRIVATE", None)
    if private is None:
        return mmap.mmap(-1, size)
    block = mmap.mmap(-1, size, flags=private | mmap.MAP_ANONYMOUS)
    if hasattr(mmap, "MADV_HUGEPAGE"):
        block.madvise(mmap.MADV_HUGEPAGE)
    return block


def _give_back(block: mmap.mmap) -> None:
    global _in_use
    size = len(block)  # read first: a call between reading and writing _in_use could collect garbage, and come here
    with _lock:
        _in_use -= size
        _blocks.append(block)
        _shrink()


def _shrink() -> None:
    """Drop the oldest blocks until those kept and those in use fit below the peak."""
    while _blocks and _in_use + sum(map(len, _blocks)) > _peak:
        _blocks.pop(0)
