"""What a cell with scripted loops is made of; `kernels/scripted/driver.py` explains it."""

from kernels.scripted.driver import Folded, ScriptedCell
from kernels.scripted.script import (
    BackwardChunk,
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
