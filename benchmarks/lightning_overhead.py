"""Time of a training step of train.py, with its logging and files, and of a plain PyTorch loop.

Both have the same network, data, optimiser and clipping, and run in one process. Blocks of steps alternate in both
orders.

    python -m benchmarks.lightning_overhead
"""

import os

os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")  # as train.py does, for both sides

import itertools
import statistics
import tempfile
import time
from typing import Any

import torch
from pytorch_lightning import Callback
from torch.nn.functional import cross_entropy

from lightning_modules.cli.run import Run
from lightning_modules.cli.settings import TrainCLI

CONFIG = "palindrome_lstm.yaml"
WARM_UP, BLOCK, ROUNDS = 5, 20, 4


class Clock(Callback):
    """Records the time at the start of every step."""

    def __init__(self) -> None:
        self.times: list[float] = []

    def on_train_batch_start(self, *_: Any) -> None:
        """Record the time."""
        self.times.append(time.perf_counter())


def settings(steps: int, folder: str) -> TrainCLI:
    """Return the settings of a run with a number of steps."""
    return TrainCLI(
        ["--config", CONFIG, "--trainer.max_steps", str(steps), "--trainer.default_root_dir", folder,
         "--trainer.accelerator", "cpu"]
    )  # fmt: skip


def lightning_step(folder: str) -> float:
    """Return the median seconds per step under the trainer."""
    clock = Clock()
    with Run(settings(WARM_UP + BLOCK, folder)) as run:
        run.build()
        run.trainer.callbacks.insert(0, clock)  # type: ignore[attr-defined]
        run.carry_out()
    times = clock.times[WARM_UP:]
    return statistics.median(after - before for before, after in itertools.pairwise(times))


def bare_step(folder: str) -> float:
    """Return the median seconds per step of a plain loop."""
    cli = settings(1, folder)
    cli.build()
    network, optimizer = cli.model.network, torch.optim.Adam(cli.model.parameters(), lr=1e-4)
    durations, start = [], 0.0
    for step, (tokens, labels) in zip(range(WARM_UP + BLOCK), cli.datamodule.train_dataloader(), strict=False):
        now = time.perf_counter()
        if step > WARM_UP:
            durations.append(now - start)
        start = now
        logits = network(tokens)
        loss = cross_entropy(logits, labels)
        (logits.argmax(1) == labels).float().mean().item()
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 10)
        optimizer.step()
    return statistics.median(durations)


def main() -> None:
    """Print the medians over the rounds and their ratio."""
    times: dict[str, list[float]] = {"bare": [], "lightning": []}
    with tempfile.TemporaryDirectory() as folder:
        for turn in range(ROUNDS):
            for name in sorted(times, reverse=turn % 2 == 1):
                times[name].append((bare_step if name == "bare" else lightning_step)(folder))
    bare, lightning = (1000 * statistics.median(times[name]) for name in ("bare", "lightning"))
    ratios = [trained / plain for trained, plain in zip(times["lightning"], times["bare"], strict=True)]
    print(
        "\n| step of palindrome_lstm, ms | bare loop | train.py | ratio (median of rounds) |\n| --- | --- | --- | --- |"
    )
    print(f"| median of {ROUNDS} rounds | {bare:.1f} | {lightning:.1f} | {statistics.median(ratios):.3f} |")


if __name__ == "__main__":
    main()
