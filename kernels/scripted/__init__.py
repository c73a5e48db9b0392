"""What a cell with scripted loops is made of; `kernels/scripted/cell.py` explains it."""

from kernels.scripted.cell import ScriptedCell
from kernels.scripted.script import (
    BackwardChunk,
    Folded,
    ForwardChunk,
    Starts,
    add_product,
    entering,
    let_stay,
    loop,
    split_gradient,
    stop_gradient,
)

__all__ = [
    "BackwardChunk",
    "Folded",
    "ForwardChunk",
    "ScriptedCell",
    "Starts",
    "add_product",
    "entering",
    "let_stay",
    "loop",
    "split_gradient",
    "stop_gradient",
]
