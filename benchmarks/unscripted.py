"""The cost of time loops without TorchScript: a pass with unscripted loops divided by one with scripted ones.

    python -m benchmarks.unscripted                                  # all cells and shapes, a few minutes
    python -m benchmarks.unscripted --shapes palindrome --cells gru

Forward and backward pass of the torchscript backend in float32. Scripted and unscripted passes alternate; a ratio is
that of their medians. On a Python that TorchScript does not support, from 3.14 on, there are no scripted loops; the
ratio is then to torch.nn's layer, and a peephole LSTM has none.
"""

import os

os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")  # large pages, for all sides

import argparse
import platform
import statistics
import time
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import nn

from benchmarks.recurrent_cases import CELLS, SHAPES, VOCABULARY, Shape
from kernels import unscripted
from kernels.scripted import script

TORCH = {"lstm": nn.LSTM, "gru": nn.GRU, "rnn": nn.RNN}


def passes(cell: str, shape: Shape, seconds: float) -> tuple[list[float], list[float]]:
    """Return the seconds of passes with scripted loops (or torch.nn's layer), and of those with unscripted ones."""
    torch.manual_seed(0)
    B, T, I, H, tokens = shape
    layer = CELLS[cell](I, H, backend="torchscript")
    peer = TORCH[cell](I, H) if script.refusal() else None
    embedding = torch.randn(VOCABULARY, I, requires_grad=True)
    inputs = torch.randint(0, VOCABULARY, (T, B)) if tokens else torch.randn(T, B, I)

    def once(module: nn.Module, loops: AbstractContextManager[None]) -> float:
        start = time.perf_counter()
        with loops:
            if not tokens:
                module(inputs)[0].sum().backward()
            elif module is layer:
                layer.forward_ids(inputs, embedding, output="last")[0].sum().backward()
            else:
                module(embedding[inputs])[0][-1].sum().backward()
        return time.perf_counter() - start

    def pair() -> tuple[float, float]:
        return once(peer or layer, nullcontext()), once(layer, unscripted())

    for _ in range(2):  # TorchScript compiles in its first passes
        pair()
    times: list[tuple[float, float]] = []
    end = time.perf_counter() + seconds
    while len(times) < 3 or (time.perf_counter() < end and len(times) < 50):
        times.append(pair())
    first, second = zip(*times, strict=True)
    return list(first), list(second)


def main() -> None:
    """Print a table with a row for each shape and a column for each cell."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--cells", nargs="+", choices=CELLS, default=list(CELLS))
    parser.add_argument("--shapes", nargs="+", choices=SHAPES, default=[name for name in SHAPES if name != "wide"])
    parser.add_argument("--seconds", type=float, default=2.0, help="time of the passes for each row, at most")
    arguments = parser.parse_args()
    if script.refusal():
        arguments.cells = [cell for cell in arguments.cells if cell in TORCH]
    print(f"Python {platform.python_version()}, torch {torch.__version__}, {torch.get_num_threads()} threads")
    print(f"Time divided by that of {'torch.nn' if script.refusal() else 'scripted loops'}:")
    print(f"| input, shape (B, T, I, H) | {' | '.join(arguments.cells)} |")
    print("| --- |" + " --- |" * len(arguments.cells))
    for name in arguments.shapes:
        B, T, I, H, tokens = SHAPES[name]
        ratios = []
        for cell in arguments.cells:
            usual, plain = map(statistics.median, passes(cell, SHAPES[name], arguments.seconds))
            ratios.append(f"{plain / usual:.2f}")
        print(f"| {'tokens' if tokens else 'vectors'} ({B}, {T}, {I}, {H}) | {' | '.join(ratios)} |", flush=True)


if __name__ == "__main__":
    main()
