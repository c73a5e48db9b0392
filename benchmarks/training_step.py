"""A training step of train.py as shipped, beside a plain PyTorch script with torch.nn.LSTM and default settings.

Each side is a process of its own, since train.py sets torch's allocator before it is imported; processes alternate.

python -m benchmarks.training_step [--precision bf16-mixed]
"""

import argparse
import itertools
import os
import statistics
import subprocess
import sys
import time
from contextlib import nullcontext

CONFIGS = ("palindrome_lstm.yaml", "palindrome_peephole.yaml")
WARM_UP, STEPS, ROUNDS = 5, 25, 4


def shipped(config: str, precision: str) -> float:
    """Return the median seconds a step of train.py."""
    import tempfile
    from typing import Any

    from pytorch_lightning import Callback

    from lightning_modules.cli import StudyCLI

    times = []

    class Clock(Callback):
        def on_train_batch_start(self, *_: Any) -> None:
            times.append(time.perf_counter())

    with tempfile.TemporaryDirectory() as folder:
        words = ["--config", config, "--trainer.max_steps", str(WARM_UP + STEPS), "--trainer.accelerator", "cpu",
                 "--trainer.default_root_dir", folder, "--trainer.precision", precision]  # fmt: skip
        cli = StudyCLI(words)
        cli.trainer.callbacks.insert(0, Clock())  # type: ignore[attr-defined]
        cli.run()
    return statistics.median(after - before for before, after in itertools.pairwise(times[WARM_UP:]))


def plain(precision: str) -> float:
    """Return the median seconds a step of a plain script: embedding, torch.nn.LSTM, head, Adam, clipping."""
    import torch
    from torch import nn

    from datamodules.toy_tasks import BinaryPalindrome

    embedding, lstm, head = nn.Embedding(3, 64), nn.LSTM(64, 256), nn.Linear(256, 2)
    parameters = [*embedding.parameters(), *lstm.parameters(), *head.parameters()]
    optimizer = torch.optim.Adam(parameters, lr=1e-4)
    low = precision.startswith("bf16")
    times = []
    loader = BinaryPalindrome(10, 256).train_dataloader()
    for tokens, labels in itertools.islice(loader, WARM_UP + STEPS):
        times.append(time.perf_counter())
        with torch.autocast("cpu", torch.bfloat16) if low else nullcontext():
            out, _ = lstm(embedding(tokens.T))
            loss = nn.functional.cross_entropy(head(out[-1]), labels)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 10)
        optimizer.step()
    return statistics.median(after - before for before, after in itertools.pairwise(times[WARM_UP:]))


def in_a_process(side: str, precision: str) -> float:
    """Return what a process of this script measures, with the settings that its side has."""
    environment = {key: value for key, value in os.environ.items() if key != "THP_MEM_ALLOC_ENABLE"}
    if side != "plain":
        environment["THP_MEM_ALLOC_ENABLE"] = "1"  # as train.py sets it
    command = [sys.executable, "-m", "benchmarks.training_step", "--side", side, "--precision", precision]
    output = subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout
    return float(output.split()[-1])


def main() -> None:
    """Print the medians over the rounds and their ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--precision", choices=("32-true", "bf16-mixed"), default="32-true")
    parser.add_argument("--side", choices=("plain", *CONFIGS), help="measure one side, in this process")
    options = parser.parse_args()
    if options.side:
        print(plain(options.precision) if options.side == "plain" else shipped(options.side, options.precision))
        return
    sides = ("plain", *CONFIGS)
    times: dict[str, list[float]] = {side: [] for side in sides}
    for turn in range(ROUNDS):
        for side in sides[:: 1 if turn % 2 == 0 else -1]:
            times[side].append(in_a_process(side, "32-true" if side == "plain" else options.precision))
    base = statistics.median(times["plain"])
    print("| training step | ms | ratio to the plain script, float32 |\n| --- | --- | --- |")
    for side in sides:
        seconds = statistics.median(times[side])
        precision = "32-true" if side == "plain" else options.precision
        print(f"| {side}, {precision} | {1000 * seconds:.1f} | {seconds / base:.2f} |")


if __name__ == "__main__":
    main()
