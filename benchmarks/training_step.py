"""Time of a training step of train.py and of a plain PyTorch script with torch.nn.LSTM and default settings.

Each side runs in its own process, because train.py configures torch's allocator before torch is imported. Processes
alternate in both orders.

    python -m benchmarks.training_step [--task book] [--precision bf16-mixed]
"""

import argparse
import itertools
import os
import statistics
import subprocess
import sys
import time
from contextlib import nullcontext

CONFIGS = {"palindromes": ("palindrome_lstm.yaml", "palindrome_peephole.yaml"), "book": ("book_lstm_study.yaml",)}
WARM_UP, STEPS, ROUNDS = 5, 25, 4


def shipped(config: str, precision: str, steps: int) -> float:
    """Return the median seconds per step of train.py."""
    import tempfile
    from typing import Any

    from pytorch_lightning import Callback

    from lightning_modules.cli.run import Run
    from lightning_modules.cli.settings import TrainCLI

    times = []

    class Clock(Callback):
        def on_train_batch_start(self, *_: Any) -> None:
            times.append(time.perf_counter())

    with tempfile.TemporaryDirectory() as folder:
        words = ["--config", config, "--trainer.max_steps", str(WARM_UP + steps), "--trainer.accelerator", "cpu",
                 "--trainer.default_root_dir", folder, "--trainer.precision", precision,
                 "--trainer.limit_val_batches", "0", "--trainer.limit_test_batches", "1"]  # fmt: skip
        if config.startswith("book"):
            words += ["--data.book", "null", "--model.samples", "false"]  # the text that comes with Python
        with Run(TrainCLI(words)) as run:
            run.build()
            run.trainer.callbacks.insert(0, Clock())  # type: ignore[attr-defined]
            run.carry_out()
    return statistics.median(after - before for before, after in itertools.pairwise(times[WARM_UP:]))


def plain(task: str, precision: str, steps: int) -> float:
    """Return the median seconds per step of a plain script: embedding, torch.nn.LSTM, head, optimiser, clipping."""
    import torch
    from torch import nn

    from datamodules.book import Book
    from datamodules.toy_tasks import BinaryPalindrome

    if task == "book":
        text = Book(length=30, batch_size=64)
        loader, V, classes, layers, bound = text.train_dataloader(), text.vocab_size, text.vocab_size, 2, 5
    else:
        loader, V, classes, layers, bound = BinaryPalindrome(10, 256).train_dataloader(), 3, 2, 1, 10
    embedding, lstm, head = nn.Embedding(V, 64), nn.LSTM(64, 256, layers), nn.Linear(256, classes)
    parameters = [*embedding.parameters(), *lstm.parameters(), *head.parameters()]
    optimizer: torch.optim.Optimizer = torch.optim.Adam(parameters, lr=1e-4)
    if task == "book":
        optimizer = torch.optim.RMSprop(parameters, lr=2e-3)
    low = precision.startswith("bf16")
    times = []
    for tokens, targets, *_ in itertools.islice(loader, WARM_UP + steps):
        times.append(time.perf_counter())
        with torch.autocast("cpu", torch.bfloat16) if low else nullcontext():
            out, _ = lstm(embedding(tokens.T))
            logits = head(out).transpose(0, 1).flatten(0, 1) if task == "book" else head(out[-1])
            loss = nn.functional.cross_entropy(logits, targets.flatten())
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, bound)
        optimizer.step()
    return statistics.median(after - before for before, after in itertools.pairwise(times[WARM_UP:]))


def in_a_process(task: str, side: str, precision: str, steps: int = STEPS) -> float:
    """Return what this script measures for one side in its own process."""
    environment = {key: value for key, value in os.environ.items() if key != "THP_MEM_ALLOC_ENABLE"}
    if side != "plain":
        environment["THP_MEM_ALLOC_ENABLE"] = "1"  # as train.py sets it
    command = [sys.executable, "-m", "benchmarks.training_step", "--task", task, "--side", side,
               "--precision", precision, "--steps", str(steps)]  # fmt: skip
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        sys.exit(done.returncode)  # the process has printed the reason
    return float(done.stdout.split()[-1])


def main() -> None:
    """Print the medians over the rounds and their ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--task", choices=CONFIGS, default="palindromes")
    parser.add_argument("--precision", choices=("32-true", "bf16-mixed"), default="32-true")
    parser.add_argument("--steps", type=int, default=STEPS, help=f"number of timed steps, at least 2, after {WARM_UP}")
    parser.add_argument("--side", help="plain, or a config: measure only this side, in this process")
    options = parser.parse_args()
    task, precision, side, steps = options.task, options.precision, options.side, options.steps
    if side:
        from lightning_modules.errors import UserError

        try:
            print(plain(task, precision, steps) if side == "plain" else shipped(side, precision, steps))
        except UserError as error:
            print(f"train.py: error: {error}", file=sys.stderr)
            sys.exit(error.status)
        return
    sides = {"plain": "32-true", **dict.fromkeys(CONFIGS[task], precision)}
    times: dict[str, list[float]] = {side: [] for side in sides}
    for turn in range(ROUNDS):
        for side in list(sides)[:: 1 if turn % 2 == 0 else -1]:
            times[side].append(in_a_process(task, side, sides[side], steps))
    base = statistics.median(times["plain"])
    print("| training step | ms | ratio to the plain script, float32 |\n| --- | --- | --- |")
    for side, own in sides.items():
        seconds = statistics.median(times[side])
        print(f"| {side}, {own} | {1000 * seconds:.1f} | {seconds / base:.2f} |")


if __name__ == "__main__":
    main()
