"""Loss on a book's held-out characters after a fixed number of steps: train.py and a plain script with torch.nn.LSTM.

    python -m benchmarks.character_model --path book.txt [--seeds 40 42 44]

Ours is `train.py --config book_lstm.yaml`, in bf16-mixed on a processor with instructions for products in bfloat16,
else in float32. The plain script has two LSTM layers of 256, streams of 64 characters, batch 32, AdamW with learning
rate 6e-3, warm-up and cosine decay, in float32. Both train on the first nine tenths of the text without its licence.
Both are scored on the whole last tenth, with the state carried through. The numbers of steps are fixed: ours to what
fits in about 185 CPU seconds of one thread on a busy machine, the plain script's to a little more. CPU seconds are
those of the whole process, imports and evaluation included.
"""

import argparse
import csv
import math
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from torch import nn

from lightning_modules.options import existing_file

ROOT = Path(__file__).parents[1]
STEPS = {"bf16-mixed": 3000, "32-true": 1500}
PLAIN_STEPS = 1400


def ours(path: Path, seed: int, precision: str, folder: Path) -> list[str]:
    """Return the command of train.py that trains and validates."""
    steps = STEPS[precision]
    words = ["--config", "book_lstm.yaml", "--data.path", str(path), "--seed_everything", str(seed)]
    words += ["--data.val_fraction", "0.1", "--data.test_fraction", "0", "--model.samples", "false"]
    words += ["--trainer.precision", precision, "--trainer.accelerator", "cpu"]
    words += ["--trainer.max_steps", str(steps), "--trainer.val_check_interval", str(steps)]
    return [sys.executable, str(ROOT / "train.py"), *words, "--trainer.default_root_dir", str(folder)]


def plain(path: Path, seed: int, steps: int = PLAIN_STEPS) -> float:
    """Train as the plain script does; return the nats per held-out character."""
    from datamodules.gutenberg import strip_licence
    from datamodules.text_source import read_text

    torch.manual_seed(seed)
    text = strip_licence(read_text(path))
    vocabulary = sorted(set(text))
    index = {character: token for token, character in enumerate(vocabulary)}
    tokens = torch.tensor([index[character] for character in text])
    cut = round(0.9 * len(tokens))
    train, held_out = tokens[:cut], tokens[cut:]
    V, B, T = len(vocabulary), 32, 64
    embedding, lstm, head = nn.Embedding(V, 64), nn.LSTM(64, 256, 2), nn.Linear(256, V)
    parameters = [*embedding.parameters(), *lstm.parameters(), *head.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=6e-3, betas=(0.9, 0.99), weight_decay=0.01)
    warm_up = round(0.02 * steps)

    def rate(step: int) -> float:
        cosine = 0.05 + 0.95 * (1 + math.cos(math.pi * step / steps)) / 2
        return min(1.0, (step + 1) / warm_up) * cosine

    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, rate)
    streams = train[: len(train) // B * B].view(B, -1).T  # [time, B]
    state, t = None, 0
    for _ in range(steps):
        if t + T + 1 > len(streams):
            state, t = None, 0
        hidden, state = lstm(embedding(streams[t : t + T]), state)
        state = tuple(value.detach() for value in state)
        loss = nn.functional.cross_entropy(head(hidden).flatten(0, 1), streams[t + 1 : t + T + 1].flatten())
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        schedule.step()
        t += T
    total, state = 0.0, None
    with torch.no_grad():
        for t in range(0, len(held_out) - 1, 1000):
            target = held_out[t + 1 : t + 1001]
            hidden, state = lstm(embedding(held_out[t : t + len(target), None]), state)
            total += nn.functional.cross_entropy(head(hidden)[:, 0], target, reduction="sum").item()
    return total / (len(held_out) - 1)


def measure(precision: str | None, path: Path, seed: int) -> tuple[float, float]:
    """Return the nats per held-out character and the CPU seconds of one training, which runs in its own process.

    Without a precision it is that of the plain script.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        own = [sys.executable, "-m", "benchmarks.character_model", "--path", str(path), "--plain", str(seed)]
        command = own if precision is None else ours(path, seed, precision, folder)
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        with (folder / "out").open("w") as out:
            process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=out, stderr=subprocess.STDOUT)
            _, status, usage = os.wait4(process.pid, 0)
        if status:
            raise SystemExit((folder / "out").read_text())
        if precision is not None:
            rows = csv.DictReader(next(folder.glob("runs/*/*/metrics.csv")).read_text().splitlines())
            nats = next(float(row["val/loss"]) for row in rows if row["val/loss"])
        else:
            nats = float((folder / "out").read_text().split()[-1])
    return nats, usage.ru_utime + usage.ru_stime


def main() -> None:
    """Print a table with all seeds of both sides."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--path", type=existing_file, required=True, help="UTF-8 text")
    parser.add_argument("--seeds", type=int, nargs="+", default=[40, 42, 44])
    parser.add_argument("--plain", type=int, metavar="SEED", help="train the plain script alone, in this process")
    options = parser.parse_args()
    path = options.path.resolve()
    if options.plain is not None:
        print(plain(path, options.plain))
        return
    from kernels import processor  # not above, where the plain script's seconds would include it

    precision = "bf16-mixed" if processor.computes(torch.bfloat16, "cpu") else "32-true"
    sides = {
        f"`book_lstm.yaml`, {precision}: one LSTM layer of 424": (precision, STEPS[precision]),
        "plain script: two `torch.nn.LSTM` layers of 256, float32": (None, PLAIN_STEPS),
    }
    print(f"| | steps | CPU seconds, at most | seeds {', '.join(map(str, options.seeds))}, nats | mean, nats | bits |")
    print("| --- | --- | --- | --- | --- | --- |")
    for side, (own, steps) in sides.items():
        nats, seconds = zip(*[measure(own, path, seed) for seed in options.seeds], strict=True)
        mean = statistics.mean(nats)
        print(f"| {side} | {steps} | {max(seconds):.0f} | {', '.join(f'{value:.3f}' for value in nats)} "
              f"| {mean:.3f} | {mean / math.log(2):.3f} |", flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
