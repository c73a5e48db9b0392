"""Palindromes per second on one thread: whole batches, as training uses them, and one sample at a time.

python -m benchmarks.palindromes [--out table.md]
"""

import argparse
import platform
import random
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from datamodules.step_stream import step_generator
from datamodules.toy_tasks import BinaryPalindrome

BATCH = 256


def sample(n: int) -> tuple[torch.Tensor, int]:
    """Make one palindrome of even n, literally by its definition, as the `__getitem__` of a data set would."""
    string = "".join(f"{random.randint(0, 8):b}" for _ in range(n // 2))
    if random.random() < 0.5:
        string = string[::-1]
    string += string[::-1]
    symbols = [-1] * (4 * n + 2 - len(string)) + [int(bit) for bit in string]
    return torch.tensor(symbols[:-1]) + 1, symbols[-1]


def one_at_a_time(n: int) -> Callable[[int], object]:
    """Return a function that makes a batch by stacking single samples."""

    def make(step: int) -> object:
        tokens, labels = zip(*(sample(n) for _ in range(BATCH)), strict=True)
        return torch.stack(tokens), torch.tensor(labels)

    return make


def whole_batches(n: int) -> Callable[[int], object]:
    """Return a function that makes a batch as training does, including the generator of the step."""
    data = BinaryPalindrome(n, BATCH)
    return lambda step: data.make_batch(step_generator(42, 0, step))


def per_second(make: Callable[[int], object], batches: int) -> float:
    """Return palindromes per second, measured over a number of batches."""
    start = time.perf_counter()
    for step in range(batches):
        make(step)
    return batches * BATCH / (time.perf_counter() - start)


def table() -> str:
    """Return the table of medians over 9 interleaved rounds, in alternating order."""
    lines = ["| n | one at a time, per second | whole batches, per second | ratio |", "| --- | --- | --- | --- |"]
    for n in (10, 20):
        makers = {"single": (one_at_a_time(n), 4), "batch": (whole_batches(n), 200)}
        rates: dict[str, list[float]] = {name: [] for name in makers}
        for turn in range(9):
            for name in sorted(makers, reverse=turn % 2 == 1):
                rates[name].append(per_second(*makers[name]))
        single, batch = statistics.median(rates["single"]), statistics.median(rates["batch"])
        lines.append(f"| {n} | {single:,.0f} | {batch:,.0f} | {batch / single:.0f} |")
    versions = f"Python {platform.python_version()}, NumPy {np.__version__}, PyTorch {torch.__version__}"
    return "\n".join([*lines, "", f"One thread of {platform.machine()}, batches of {BATCH}; {versions}."])


def main() -> None:
    """Print the table, and write it to the file that `--out` names."""
    parser = argparse.ArgumentParser(description="Measure palindromes per second.")
    parser.add_argument("--out", type=Path, help="file to write the table to")
    out = parser.parse_args().out
    torch.set_num_threads(1)
    result = table()
    print(result)
    if out is not None:
        out.write_text(result + "\n")


if __name__ == "__main__":
    main()
