"""The cost of resets inside a sequence: a pass with them beside a pass without, and beside the usual loop over steps.

    python -m benchmarks.resets                              # a minute; prints a table
    python -m benchmarks.resets --share 0.1 --cells lstm

Forward and backward pass in float32. A row starts anew at each step with the probability `--share`. The usual loop
calls torch.nn's layer for one step at a time and multiplies the state by 0 where a row starts anew, as implementations
of reinforcement learning do. "auto" without resets is oneDNN's LSTM on most CPUs. All are timed in random order; a
timed pass follows an untimed one of its own kind, as in training. A ratio is that of two medians.
"""

import os

os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")  # large pages, for all sides

import argparse
import random
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.recurrent_cases import CELLS

SHAPES = ((128, 128, 64, 256), (8, 128, 64, 128))  # B, T, I, H
TORCH: dict[str, Callable[[int, int], nn.RNNBase]] = {"lstm": nn.LSTM, "gru": nn.GRU, "rnn": nn.RNN}
WITH, WITHOUT, AUTO, STEPS = "with resets", "without", "without, auto", "loop over steps"


def implementations(cell: str, shape: tuple[int, int, int, int], share: float) -> dict[str, Callable[[], Tensor]]:
    """Return by name the functions that run a forward pass and return all outputs [T, B, H]."""
    B, T, I, H = shape
    torch.manual_seed(0)
    x, resets = torch.randn(T, B, I, requires_grad=True), torch.rand(T, B) < share
    ours, auto = CELLS[cell](I, H, backend="torchscript"), CELLS[cell](I, H)
    auto.load_state_dict(ours.state_dict())
    found = {
        WITH: lambda: ours(x, resets=resets)[0],
        WITHOUT: lambda: ours(x)[0],
        AUTO: lambda: auto(x)[0],
    }
    if cell in TORCH:
        theirs = TORCH[cell](I, H)
        theirs.load_state_dict(ours.state_dict())
        found[STEPS] = lambda: loop_over_steps(theirs, x, resets)
    return found


def loop_over_steps(layer: nn.RNNBase, x: Tensor, resets: Tensor) -> Tensor:
    """Return all outputs of torch.nn's layer, called for each step, with states of zero where a row starts anew."""
    keep = (~resets).to(x.dtype)[:, None, :, None]  # [T, 1, B, 1]
    zeros = x.new_zeros(1, x.shape[1], layer.hidden_size)
    state: Any = (zeros, zeros) if isinstance(layer, nn.LSTM) else zeros
    outputs = []
    for t in range(len(x)):
        state = tuple(each * keep[t] for each in state) if isinstance(state, tuple) else state * keep[t]
        out, state = layer(x[t : t + 1], state)
        outputs.append(out)
    return torch.cat(outputs)


def measure(functions: dict[str, Callable[[], Tensor]], rounds: int) -> dict[str, float]:
    """Return the median seconds of a forward and backward pass of each function."""
    grad = torch.randn_like(functions[WITHOUT]())
    seconds: dict[str, list[float]] = {name: [] for name in functions}
    for _ in range(rounds):
        for name in random.sample(list(functions), len(functions)):
            for _ in range(2):  # the first pass is not timed
                start = time.perf_counter()
                functions[name]().backward(grad)
                last = time.perf_counter() - start
            seconds[name].append(last)
    return {name: statistics.median(times) for name, times in seconds.items()}


def main() -> None:
    """Print a table with a row for each cell and shape."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--cells", nargs="+", choices=CELLS, default=["lstm", "gru"])
    parser.add_argument("--share", type=float, default=0.03, help="of steps at which a row starts anew")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    print(f"| input, shape (B, T, I, H) | cell | ms | ÷ {WITHOUT} | ÷ {AUTO} | ÷ {STEPS} |")
    print("| --- | --- | --- | --- | --- | --- |")
    for shape in SHAPES:
        for cell in options.cells:
            functions = implementations(cell, shape, options.share)
            outputs = [functions[name]() for name in (WITH, STEPS) if name in functions]
            torch.testing.assert_close(*[*outputs, outputs[0]][:2], rtol=1e-3, atol=1e-4)
            times = measure(functions, options.rounds)
            ratios = [f"{times[WITH] / times[name]:.2f}" if name in times else "–" for name in (WITHOUT, AUTO, STEPS)]
            print(f"| vectors {shape} | {cell} | {1e3 * times[WITH]:.1f} | {' | '.join(ratios)} |", flush=True)


if __name__ == "__main__":
    main()
