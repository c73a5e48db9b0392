"""Time of what the recurrent layers offer beyond torch.nn, beside what it is compared with: a Markdown table.

    python -m benchmarks.recurrent_features                         # every feature
    python -m benchmarks.recurrent_features zoneout "layer norm"    # these
    python -m benchmarks.recurrent_features sLSTM                   # beside the package xlstm, where it is installed

A time is the median of forward and backward passes in float32, each after an untimed one of its own kind. Every round
runs all passes of a comparison in random order.
"""

import os

os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")  # large pages, for all sides

import argparse
import importlib
import sys
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor, nn

from benchmarks.recurrent import time_in_turn
from kernels import GRU, LSTM, RNN, SLSTM, LayerNormLSTM, forced
from kernels.layer import RecurrentLayer
from kernels.scripted.chunks import chunk_steps

SHAPES = ((100, 32, 64, 128), (41, 256, 64, 256))  # T, B, I, H
ROLLOUTS = ((128, 128, 64, 256), (128, 8, 64, 128))  # the same, of reinforcement learning
RESETS = 0.03  # share of the steps at which a row starts anew


class Comparison(NamedTuple):
    """A pass of ours, and by name the passes that it is compared with."""

    shape: tuple[int, int, int, int]  # T, B, I, H
    layer: str
    ours: Callable[[], object]
    others: dict[str, Callable[[], object]]


def training_pass(
    layer: RecurrentLayer | nn.LSTM, x: Tensor, backend: str = "auto", resets: Tensor | None = None
) -> Callable[[], object]:
    """Return a function that runs a layer forward and backward."""
    x, grad = x.clone().requires_grad_(), torch.randn(*x.shape[:2], layer.proj_size or layer.hidden_size)
    options = {} if resets is None else {"resets": resets}

    def run() -> None:
        layer.zero_grad()
        x.grad = None
        with forced(backend):  # type: ignore[arg-type]
            layer(x, **options)[0].backward(grad)

    return run


def resets() -> Iterator[Comparison]:
    """Compare a sequence with resets with one without, and with the usual loop over its steps."""
    for (T, B, I, H), kind in ((shape, kind) for shape in ROLLOUTS for kind in (LSTM, GRU)):
        x, starts, layer, theirs = torch.randn(T, B, I), torch.rand(T, B) < RESETS, kind(I, H), kind.torch_layer(I, H)
        theirs.load_state_dict(layer.state_dict())
        others = {
            "without resets, torchscript": training_pass(layer, x, "torchscript"),
            "without resets, auto": training_pass(layer, x),
            "torch.nn step by step": pass_over_steps(theirs, x, starts),
        }
        yield Comparison((T, B, I, H), kind.__name__, training_pass(layer, x, resets=starts), others)


def pass_over_steps(layer: nn.RNNBase, x: Tensor, starts: Tensor) -> Callable[[], object]:
    """Return a pass that calls torch.nn's layer for each step, with a state of zeros where a row starts anew."""
    x, grad = x.clone().requires_grad_(), torch.randn(*x.shape[:2], layer.hidden_size)
    zeros, keep = torch.zeros(1, x.shape[1], layer.hidden_size), (~starts)[:, None, :, None].float()

    def run() -> None:
        layer.zero_grad()
        x.grad = None
        state: tuple[Tensor, ...] = (zeros, zeros) if isinstance(layer, nn.LSTM) else (zeros,)
        outputs = []
        for t in range(len(x)):
            state = tuple(each * keep[t] for each in state)
            out, last = layer(x[t : t + 1], state if isinstance(layer, nn.LSTM) else state[0])
            state = last if isinstance(last, tuple) else (last,)
            outputs.append(out)
        torch.cat(outputs).backward(grad)

    return run


def layer_norm() -> Iterator[Comparison]:
    """Compare LayerNormLSTM with our LSTM and with its equations in an eager loop."""
    for T, B, I, H in SHAPES:
        x, layer, lstm = torch.randn(T, B, I), LayerNormLSTM(I, H), LSTM(I, H)
        others = {
            "our LSTM, auto": training_pass(lstm, x),
            "our LSTM, torchscript": training_pass(lstm, x, "torchscript"),
            "eager loop": training_pass(layer, x, "reference"),
            "its products alone": products(T, B, I, H),
        }
        yield Comparison((T, B, I, H), "LayerNormLSTM", training_pass(layer, x), others)


def zoneout() -> Iterator[Comparison]:
    """Compare layers with and without zoneout in their scripted loops, and without in the backend that `auto` takes."""
    for (T, B, I, H), kind in ((shape, kind) for shape in SHAPES for kind in (LSTM, GRU, RNN, LayerNormLSTM)):
        x, plain = torch.randn(T, B, I), kind(I, H)
        others = {"without, torchscript": training_pass(plain, x, "torchscript")}
        if kind is LSTM:
            others["without, auto"] = training_pass(plain, x)
        yield Comparison((T, B, I, H), kind.__name__, training_pass(kind(I, H, zoneout=0.1), x), others)


def projection() -> Iterator[Comparison]:
    """Compare an LSTM whose output is projected to half its width with torch.nn's."""
    for T, B, I, H in SHAPES:
        x, layer, theirs = torch.randn(T, B, I), LSTM(I, H, proj_size=H // 2), nn.LSTM(I, H, proj_size=H // 2)
        theirs.load_state_dict(layer.state_dict())
        others = {"torch.nn": training_pass(theirs, x), "its products alone": products(T, B, I, H, H // 2)}
        yield Comparison((T, B, I, H), "LSTM", training_pass(layer, x), others)


def products(T: int, B: int, I: int, H: int, P: int = 0) -> Callable[[], object]:
    """Return a pass of nothing but an LSTM's matrix products, in the shapes in which the scripted loops run them.

    With P they are those of an LSTM with a projection. No backend can be faster without faster products.
    """
    k, G, R = chunk_steps(T, B), 4 * H, P or H
    weight_ih, weight_hh, weight_hr = (torch.randn(shape) / H for shape in ((G, I), (G, R), (R, H)))
    recurrent, projection = weight_hh.T.contiguous(), weight_hr.T.contiguous()
    x, h, m, gates = (torch.randn(k * B, width) for width in (I, R, H, G))
    step, h_new, m_new = (torch.empty(B, width) for width in (G, R, H))

    def run() -> None:
        for t in range(0, T, k):
            torch.mm(x, weight_ih.T, out=gates)
            for _ in range(min(k, T - t)):
                torch.mm(h[:B], recurrent, out=step)  # forward
                torch.mm(step, weight_hh, out=h_new)  # backward
                if P:
                    torch.mm(m[:B], projection, out=h_new)
                    torch.mm(h_new, weight_hr, out=m_new)
            _ = gates @ weight_ih, gates.T @ x, gates.T @ h, h.T @ m if P else None

    return run


def slstm(T: int, B: int, I: int, H: int) -> Iterator[Comparison]:
    """Compare an sLSTM of four heads with the cell of the package xlstm in plain PyTorch, our LSTM, and an eager loop.

    The cell takes W x, so its pass has a linear layer, too. Its backward pass copies all states in each step, so that
    T = 1024 takes minutes.
    """
    x, layer = torch.randn(T, B, I), SLSTM(I, H, num_heads=4)
    others = {
        "our LSTM, torchscript": training_pass(LSTM(I, H), x, "torchscript"),
        "eager loop": training_pass(layer, x, "reference"),
    }
    try:
        others = {"xlstm": xlstm_pass(layer, x), **others}
    except ImportError as error:
        print(f"the package xlstm cannot be imported: {error}", file=sys.stderr)
    yield Comparison((T, B, I, H), "SLSTM, 4 heads", training_pass(layer, x), others)


def xlstm_pass(layer: SLSTM, x: Tensor) -> Callable[[], object]:
    """Return a function that runs the cell of the package xlstm with a layer's weights forward and backward.

    Raises:
        ImportError: if the package is not installed.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        package = importlib.import_module("xlstm.blocks.slstm.cell")
    H = layer.hidden_size
    config = package.sLSTMCellConfig(
        hidden_size=H, num_heads=layer.num_heads, backend="vanilla", dtype="float32", input_shape="SBGNH",
        output_shape="SBH",
    )  # fmt: skip
    cell, linear = package.sLSTMCell(config), nn.Linear(layer.input_size, 4 * H, bias=False)
    cell.load_state_dict(layer.xlstm_state_dict())
    x, grad = x.clone().requires_grad_(), torch.randn(*x.shape[:2], H)

    def run() -> None:
        cell.zero_grad()
        linear.zero_grad()
        x.grad = None
        cell(linear(x))[0].backward(grad)

    return run


FEATURES: dict[str, Callable[[], Iterator[Comparison]]] = {
    "resets": resets,
    "layer norm": layer_norm,
    "zoneout": zoneout,
    "projection": projection,
    "sLSTM": partial(slstm, 100, 32, 128, 128),
    "long sLSTM": partial(slstm, 1024, 16, 256, 256),
}


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
