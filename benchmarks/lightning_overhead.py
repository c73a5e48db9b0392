"""Time of a training step of train.py, with its logging and files, and of a plain PyTorch loop with the same network.

Both have the same data, optimiser and clipping, and run in one process. Blocks of steps alternate in both orders.

    python -m benchmarks.lightning_overhead [--device cuda] [--precision bf16-mixed] [CONFIG …]
"""

import os

os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")  # as train.py does, for both sides

import argparse
import itertools
import statistics
import time
from contextlib import nullcontext

import torch
from torch.nn.functional import cross_entropy

from benchmarks.training_step import ROUNDS, STEPS, WARM_UP, seconds_per_step, shipped
from lightning_modules.cli.settings import TrainCLI
from lightning_modules.networks.language_model import CharacterModel


def bare(config: str, precision: str, steps: int, device: str) -> float:
    """Return the seconds per step of a plain loop that reads its accuracy in each step."""
    words = ["--config", config, *(["--data.book", "null"] if config.startswith("book") else [])]
    cli = TrainCLI([*words, "--trainer.accelerator", "cpu"])  # only for the objects
    cli.build()
    network, state, times = cli.model.network.to(device), None, []
    is_text = isinstance(network, CharacterModel)
    optimizer = torch.optim.Adam(network.parameters(), lr=cli.model.learning_rate)
    for tokens, targets, *_ in itertools.islice(cli.datamodule.train_dataloader(), WARM_UP + steps):
        times.append(time.perf_counter())
        tokens, targets = tokens.to(device), targets.to(device).flatten()
        with torch.autocast(device, torch.bfloat16) if precision == "bf16-mixed" else nullcontext():
            if is_text:
                logits, state = network(tokens, state)
                logits, state = logits.flatten(0, 1), tuple(value.detach() for value in state)
            else:
                logits = network(tokens)
            loss = cross_entropy(logits, targets)
        (logits.argmax(1) == targets).float().mean().item()
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), cli.config.trainer.gradient_clip_val)
        optimizer.step()
    if device == "cuda":
        torch.cuda.synchronize()
    return seconds_per_step([*times, time.perf_counter()], device)


def main() -> None:
    """Print for each config the medians over the rounds and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("configs", nargs="*", default=["palindrome_lstm.yaml"], help="default: palindrome_lstm.yaml")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--precision", choices=("32-true", "bf16-mixed"), default="32-true")
    parser.add_argument("--steps", type=int, help=f"number of timed steps, at least 2, after {WARM_UP}")
    options = parser.parse_args()
    device, precision, steps = options.device, options.precision, options.steps or STEPS[options.device]
    lines = ["| training step | bare loop, ms | train.py, ms | ratio (median of rounds) |", "| --- | --- | --- | --- |"]
    for config in options.configs:
        times: dict[str, list[float]] = {"bare": [], "train.py": []}
        for turn in range(ROUNDS[device]):
            for side in list(times)[:: 1 if turn % 2 == 0 else -1]:
                times[side].append((bare if side == "bare" else shipped)(config, precision, steps, device))
        alone, own = (1000 * statistics.median(times[side]) for side in times)
        ratio = statistics.median(ours / theirs for theirs, ours in zip(*times.values(), strict=True))
        lines.append(f"| {config}, {device}, {precision} | {alone:.2f} | {own:.2f} | {ratio:.3f} |")
    print("\n" + "\n".join(lines))


if __name__ == "__main__":
    main()
