"""Time of what the recurrent layers offer beyond torch.nn, beside what it is compared with: a Markdown table.

    python -m benchmarks.recurrent_features                         # every feature
    python -m benchmarks.recurrent_features zoneout "layer norm"    # these

A time is the median of forward and backward passes in float32, each after an untimed one of its own kind. Every round
runs all passes of a comparison in random order.
"""

import os

os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")  # large pages, for all sides

import argparse
import sys
from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from benchmarks.recurrent import time_in_turn
from kernels import GRU, LSTM, RNN, LayerNormLSTM, forced
from kernels.layer import RecurrentLayer

SHAPES = ((100, 32, 64, 128), (41, 256, 64, 256))  # T, B, I, H


class Comparison(NamedTuple):
    """A pass of ours, and by name the passes that it is compared with."""

    shape: tuple[int, int, int, int]  # T, B, I, H
    layer: str
    ours: Callable[[], object]
    others: dict[str, Callable[[], object]]


def training_pass(layer: RecurrentLayer, x: Tensor, backend: str = "auto") -> Callable[[], object]:
    """Return a function that runs a layer forward and backward."""
    x, grad = x.clone().requires_grad_(), torch.randn(*x.shape[:2], layer.hidden_size)

    def run() -> None:
        layer.zero_grad()
        x.grad = None
        with forced(backend):  # type: ignore[arg-type]
            layer(x)[0].backward(grad)

    return run


def layer_norm() -> Iterator[Comparison]:
    """Compare LayerNormLSTM with our LSTM and with its equations in an eager loop."""
    for T, B, I, H in SHAPES:
        x, layer, lstm = torch.randn(T, B, I), LayerNormLSTM(I, H), LSTM(I, H)
        others = {
            "our LSTM, auto": training_pass(lstm, x),
            "our LSTM, torchscript": training_pass(lstm, x, "torchscript"),
            "eager loop": training_pass(layer, x, "reference"),
        }
        yield Comparison((T, B, I, H), "LayerNormLSTM", training_pass(layer, x), others)


def zoneout() -> Iterator[Comparison]:
    """Compare layers with and without zoneout, in their scripted loops."""
    for (T, B, I, H), kind in ((shape, kind) for shape in SHAPES for kind in (LSTM, GRU, RNN, LayerNormLSTM)):
        x = torch.randn(T, B, I)
        plain = training_pass(kind(I, H, backend="torchscript"), x)
        yield Comparison((T, B, I, H), kind.__name__, training_pass(kind(I, H, zoneout=0.1), x), {"without": plain})


FEATURES: dict[str, Callable[[], Iterator[Comparison]]] = {"layer norm": layer_norm, "zoneout": zoneout}


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("features", nargs="*", metavar="FEATURE", help=f"of {', '.join(FEATURES)}; default: all")
    parser.add_argument("--seconds", type=float, default=4.0, help="time for each pass")
    options = parser.parse_args()
    if unknown := set(options.features) - set(FEATURES):
        parser.error(f"unknown: {', '.join(sorted(unknown))}; there are {', '.join(FEATURES)}")
    print("| feature | shape (T, B, I, H) | layer | ms | compared with | its ms | ratio |")
    print("|" + " --- |" * 7)
    for feature in options.features or FEATURES:
        torch.manual_seed(0)
        for shape, layer, ours, others in FEATURES[feature]():
            passes = {"ours": ours, **others}
            medians = time_in_turn(passes, options.seconds, "cpu")
            for name in others:
                mine, theirs = medians["ours"], medians[name]
                cells = [feature, str(shape), layer, f"{mine:.1f}", name, f"{theirs:.1f}", f"{mine / theirs:.2f}"]
                print("| " + " | ".join(cells) + " |", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
