"""Characters per second when sampling from a language model, compared with the usual ways to do it with torch.nn.

    python -m benchmarks.decoding

Two LSTM layers of 256, an embedding of 64 and 80 characters, with the initial weights. One sample runs on one thread,
64 samples on two. Each figure is the median over rounds; every round runs all ways, in random order. The ways with
torch.nn call a layer for every character and draw with torch.multinomial. Ours also keeps each character's
log-probability.
"""

import argparse
import itertools
import random
import statistics
import string
import sys
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn

from lightning_modules.networks.language_model import CharacterModel

CASES = {"1 sample, 1 thread": (1, 1), "64 samples, 2 threads": (64, 2)}
ROUNDS = 7


def ours(model: CharacterModel, N: int, dtype: torch.dtype) -> Callable[[int], Tensor]:
    """Return a function that draws a number of characters with the decoding loop of `kernels`."""
    decoder = model.decoder(dtype)
    decoder.read(torch.zeros(1, 1, dtype=torch.int64))
    decoder.repeat(N)
    return lambda length: decoder.sample(torch.rand(length, N))[0]


def layer_calls(model: CharacterModel, N: int, onednn: bool) -> Callable[[int], Tensor]:
    """Return the same with one call of torch.nn.LSTM per character."""
    lstm = nn.LSTM(model.layer.input_size, model.layer.hidden_size, model.layer.num_layers)
    lstm.load_state_dict(model.layer.state_dict())

    def run(length: int) -> Tensor:
        token, state, tokens = torch.zeros(N, dtype=torch.int64), None, []
        with torch.backends.mkldnn.flags(enabled=onednn):
            for _ in range(length):
                hidden, state = lstm(model.embedding(token)[None], state)
                token = torch.multinomial(torch.softmax(model.head(hidden[0]), 1), 1)[:, 0]
                tokens.append(token)
        return torch.stack(tokens)

    return run


def cell_calls(model: CharacterModel, N: int) -> Callable[[int], Tensor]:
    """Return the same with torch.nn.LSTMCell."""
    sizes = [model.layer.input_size, *[model.layer.hidden_size] * model.layer.num_layers]
    cells = [nn.LSTMCell(I, H) for I, H in itertools.pairwise(sizes)]
    for k, cell in enumerate(cells):
        cell.load_state_dict(
            {name: getattr(model.layer, f"{name}_l{k}") for name in cell.state_dict()}  # the same names
        )

    def run(length: int) -> Tensor:
        token, tokens = torch.zeros(N, dtype=torch.int64), []
        states = [(torch.zeros(N, cell.hidden_size),) * 2 for cell in cells]
        for _ in range(length):
            below = model.embedding(token)
            for k, cell in enumerate(cells):
                states[k] = cell(below, states[k])
                below = states[k][0]
            token = torch.multinomial(torch.softmax(model.head(below), 1), 1)[:, 0]
            tokens.append(token)
        return torch.stack(tokens)

    return run


def speed(run: Callable[[int], Tensor], N: int, length: int) -> float:
    """Return characters per second."""
    begin = time.perf_counter()
    run(length)
    return N * length / (time.perf_counter() - begin)


@torch.no_grad()
def main() -> int:
    """Print a table."""
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    torch.manual_seed(0)
    model = CharacterModel(string.printable[:80]).eval()
    print("| characters per second | " + " | ".join(CASES) + " |\n| --- |" + " --- |" * len(CASES))
    rows: dict[str, list[str]] = {}
    for N, threads in CASES.values():
        torch.set_num_threads(threads)
        ways = {
            "kernels.decode, float32": ours(model, N, torch.float32),
            "kernels.decode, bfloat16": ours(model, N, torch.bfloat16),
            "torch.nn.LSTM, one call per character": layer_calls(model, N, True),
            "the same without oneDNN": layer_calls(model, N, False),
            "torch.nn.LSTMCell": cell_calls(model, N),
        }
        speeds: dict[str, list[float]] = {name: [] for name in ways}
        for way in ways.values():
            speed(way, N, 50)  # scripts are optimised in their first runs
            speed(way, N, 50)
        order = random.Random(0)
        for _ in range(ROUNDS):
            for name in order.sample(list(ways), len(ways)):
                speeds[name].append(speed(ways[name], N, 300))
        for name, values in speeds.items():
            rows.setdefault(name, []).append(f"{statistics.median(values):,.0f}")
    for name, cells in rows.items():
        print(f"| {name} | " + " | ".join(cells) + " |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
