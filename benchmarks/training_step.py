"""Time of a training step of train.py and of a plain PyTorch script with torch.nn.LSTM and default settings.

On a CPU each side runs in its own process, because train.py configures torch's allocator before torch is imported. On a
GPU all sides run in one process. Sides alternate in both orders.

    python -m benchmarks.training_step [--task book] [--precision bf16-mixed]
    python -m benchmarks.training_step --device cuda --task palindromes book-large --precision 32-true bf16-mixed
"""

import argparse
import itertools
import os
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import nullcontext
from typing import Any, NamedTuple


class Task(NamedTuple):
    """Configs of train.py, and the sizes that the plain script shares with them."""

    configs: tuple[str, ...]
    hidden_size: int
    num_layers: int
    dropout: float
    length: int  # of a text window; 0 for palindromes
    batch_size: int
    clip: float  # bound of the gradient's norm


TASKS = {
    "palindromes": Task(("palindrome_lstm.yaml", "palindrome_peephole.yaml"), 256, 1, 0.0, 0, 256, 10),
    "book": Task(("book_lstm_study.yaml",), 256, 2, 0.0, 30, 64, 5),
    "book-large": Task(("book_lstm_large.yaml",), 512, 2, 0.4, 64, 32, 1),
}
WARM_UP, STEPS, ROUNDS = 10, {"cpu": 25, "cuda": 200}, {"cpu": 4, "cuda": 2}


def seconds_per_step(times: list[float], device: str) -> float:
    """Return the seconds of a step, from the start of each step; the last time is that of the end.

    On a CPU it is the median. A GPU works behind the CPU, so only the time of all steps together means something.
    """
    times = times[WARM_UP:]
    if device == "cuda":
        return (times[-1] - times[0]) / (len(times) - 1)
    return statistics.median(after - before for before, after in itertools.pairwise(times))


def shipped(config: str, precision: str, steps: int, device: str) -> float:
    """Return the seconds per step of train.py."""
    import torch
    from pytorch_lightning import Callback

    from lightning_modules.cli.run import Run
    from lightning_modules.cli.settings import TrainCLI

    times = []

    class Clock(Callback):
        def on_train_batch_start(self, *_: Any) -> None:
            times.append(time.perf_counter())

        def on_train_end(self, *_: Any) -> None:
            if device == "cuda":
                torch.cuda.synchronize()
            times.append(time.perf_counter())

    with tempfile.TemporaryDirectory() as folder:
        words = ["--config", config, "--trainer.max_steps", str(WARM_UP + steps), "--trainer.accelerator",
                 "gpu" if device == "cuda" else "cpu", "--trainer.default_root_dir", folder,
                 "--trainer.precision", precision, "--trainer.limit_val_batches", "0",
                 "--trainer.limit_test_batches", "1"]  # fmt: skip
        if config.startswith("book"):
            words += ["--data.book", "null", "--model.samples", "false"]  # the text that comes with Python
        with Run(TrainCLI(words)) as run:
            run.build()
            run.trainer.callbacks.insert(0, Clock())  # type: ignore[attr-defined]
            run.carry_out()
    return seconds_per_step(times, device)


def plain(task: Task, precision: str, steps: int, device: str) -> float:
    """Return the seconds per step of a plain script: embedding, torch.nn.LSTM, head, optimiser, clipping."""
    import torch
    from torch import nn

    from datamodules.book import Book
    from datamodules.toy_tasks import BinaryPalindrome

    if task.length:
        text = Book(length=task.length, batch_size=task.batch_size)
        loader, V, classes = text.train_dataloader(), text.vocab_size, text.vocab_size
    else:
        loader, V, classes = BinaryPalindrome(10, task.batch_size).train_dataloader(), 3, 2
    lstm = nn.LSTM(64, task.hidden_size, task.num_layers, dropout=task.dropout).to(device)
    embedding, head = nn.Embedding(V, 64).to(device), nn.Linear(task.hidden_size, classes).to(device)
    parameters = [*embedding.parameters(), *lstm.parameters(), *head.parameters()]
    optimizer: torch.optim.Optimizer = torch.optim.Adam(parameters, lr=1e-4)
    if task.length:
        optimizer = torch.optim.RMSprop(parameters, lr=2e-3)
    low = precision.startswith("bf16")
    times = []
    for tokens, targets, *_ in itertools.islice(loader, WARM_UP + steps):
        times.append(time.perf_counter())
        tokens, targets = tokens.to(device), targets.to(device)
        with torch.autocast(device, torch.bfloat16) if low else nullcontext():
            out, _ = lstm(embedding(tokens.T))
            logits = head(out).transpose(0, 1).flatten(0, 1) if task.length else head(out[-1])
            loss = nn.functional.cross_entropy(logits, targets.flatten())
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, task.clip)
        optimizer.step()
        loss.item()  # as scripts that log their loss do; it waits for a GPU
    if device == "cuda":
        torch.cuda.synchronize()
    return seconds_per_step([*times, time.perf_counter()], device)


def measure(task: str, side: str, precision: str, steps: int, device: str) -> float:
    """Return the seconds per step of one side, which is "plain" or a config."""
    if side == "plain":
        return plain(TASKS[task], precision, steps, device)
    return shipped(side, precision, steps, device)


def in_a_process(task: str, side: str, precision: str, steps: int) -> float:
    """Return what this script measures for one side on a CPU in its own process."""
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
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--task", nargs="+", choices=TASKS, default=["palindromes"])
    parser.add_argument("--precision", nargs="+", choices=("32-true", "bf16-mixed"), default=["32-true"])
    parser.add_argument("--steps", type=int, help=f"number of timed steps, at least 2, after {WARM_UP}")
    parser.add_argument("--side", help="plain, or a config: measure only this side, in this process")
    options = parser.parse_args()
    steps = options.steps or STEPS[options.device]
    if options.side:
        from lightning_modules.errors import UserError

        try:
            print(measure(options.task[0], options.side, options.precision[0], steps, options.device))
        except UserError as error:
            print(f"train.py: error: {error}", file=sys.stderr)
            sys.exit(error.status)
        return
    print("| training step | ms | ratio to the plain script |\n| --- | --- | --- |", flush=True)
    for task, precision in itertools.product(options.task, options.precision):
        # On a CPU the plain script is in float32: torch.nn.LSTM in bfloat16 fails on some.
        sides = {"plain": precision if options.device == "cuda" else "32-true"}
        sides |= dict.fromkeys(TASKS[task].configs, precision)
        times: dict[str, list[float]] = {side: [] for side in sides}
        for turn in range(ROUNDS[options.device]):
            for side in list(sides)[:: 1 if turn % 2 == 0 else -1]:
                if options.device == "cuda":
                    times[side].append(measure(task, side, sides[side], steps, "cuda"))
                else:
                    times[side].append(in_a_process(task, side, sides[side], steps))
        base = statistics.median(times["plain"])
        for side, own in sides.items():
            seconds = statistics.median(times[side])
            what = f"plain script, {task}" if side == "plain" else side
            print(f"| {what}, {own} | {1000 * seconds:.2f} | {seconds / base:.2f} |", flush=True)


if __name__ == "__main__":
    main()
