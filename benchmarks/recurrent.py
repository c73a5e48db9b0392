"""Every recurrent cell × backend × shape beside its peers: time, memory, error; a table, a CSV and a picture.

    python -m benchmarks.recurrent                              # the whole of it, about half an hour on two cores
    python -m benchmarks.recurrent --cells lstm --shapes palindrome --precisions float32

Peers in the same run: torch.nn's layer (behind nn.Embedding for token input), the cell's equations in an eager loop,
and the same loop under TorchScript's own autodiff. Times are medians of rounds that take all implementations in
another order each; a pass is timed right after one of its own kind, as in training, since what ran before decides how
warm the memory is. A ratio is to the fastest peer. `error` is the relative distance from the float64 oracle, of outputs
and of all gradients, whichever is larger; a row that fails its bound is not timed. `memory` is the largest growth of
resident memory in a forward and backward pass on a CPU, allocated memory on a GPU.

On a GPU 16-bit precisions are 16-bit weights and inputs, on a CPU autocast; times are the GPU's own, and beside them
stand the floor of benchmarks/cuda_timing.py and the wall's time, with the launches on the CPU. `python -m
benchmarks.recurrent_gpu` measures all that there is on a GPU. Rows are written as they come; a process whose GPU cannot
be used any more ends with status 3.
"""

import os

os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")  # large pages, for all sides

import argparse
import copy
import csv
import itertools
import random
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from benchmarks.cuda_timing import flash_rnn, floor_ms, time_on_gpu, wall_time, works
from benchmarks.jit_loops import jit_step
from kernels import GRU, LSTM, RNN, PeepholeLSTM, forced, memory
from kernels.recurrent_layer import RecurrentLayer
from kernels.triton import available


class Shape(NamedTuple):
    """Sizes of a case; with tokens the last state is wanted, as by a classifier, else the whole sequence."""

    B: int
    T: int
    I: int
    H: int
    tokens: bool


SHAPES = {
    "palindrome": Shape(256, 41, 64, 256, True),
    "palindrome20": Shape(256, 81, 64, 256, True),
    "palindrome, vectors": Shape(256, 41, 64, 256, False),
    "palindrome20, vectors": Shape(256, 81, 64, 256, False),
    "book": Shape(64, 30, 256, 256, False),
    "small": Shape(32, 100, 64, 128, False),
    "large": Shape(64, 100, 512, 512, False),
    "one row": Shape(1, 1000, 256, 256, False),
    "wide": Shape(16, 1024, 768, 768, False),
}
CELLS: dict[str, Callable[..., RecurrentLayer]] = {
    "lstm": LSTM,
    "gru": GRU,
    "rnn": RNN,
    "peephole_full": PeepholeLSTM,
    "peephole_diagonal": lambda *sizes, **options: PeepholeLSTM(*sizes, peephole="diagonal", **options),
}
GATES = {"lstm": (4, 4), "gru": (3, 3), "rnn": (1, 1), "peephole_full": (4, 3), "peephole_diagonal": (4, 4)}  # x, h
VOCABULARY = 3
PEERS = ("torch.nn", "FlashRNN", "eager loop", "jit loop")
UNCHECKED = ("FlashRNN",)  # its gates are in an order of their own
LONG = 500  # steps, from which on a GPU loops of small operators are left out
LOW = {"bf16": torch.bfloat16, "fp16": torch.float16}
BOUND = {"float32": 1e-4, "tf32": 1e-2, "bf16": 5e-2, "fp16": 2e-2}
COLUMNS = ("cell", "shape", "precision", "implementation", "forward_ms", "both_ms", "forward_ratio", "both_ratio",
           "memory_mb", "error")  # fmt: skip
ON_GPU = ("forward_floor_ms", "both_floor_ms", "both_wall_ms")  # further columns
UNUSABLE = 3  # status of a process whose GPU cannot be used any more


class Case:
    """A cell at a shape in a precision: the same weights and data for every implementation.

    Args:
        cell: a name in CELLS.
        shape: its sizes.
        precision: a name in BOUND.
        device: "cpu" or "cuda".
        T: steps, instead of the shape's.
    """

    def __init__(self, cell: str, shape: Shape, precision: str, device: str, T: int | None = None) -> None:
        torch.manual_seed(0)
        shape = shape if T is None else shape._replace(T=T)
        self.cell, self.shape, self.precision, self.device = cell, shape, precision, device
        B, T, I, H, _ = shape
        self.dtype = LOW.get(precision, torch.float32) if device == "cuda" else torch.float32
        if device == "cuda":
            torch.set_float32_matmul_precision("high" if precision == "tf32" else "highest")
            torch.backends.cudnn.allow_tf32 = precision == "tf32"
        self.layer = CELLS[cell](I, H, device=device).to(self.dtype)
        self.embedding = nn.Embedding(VOCABULARY, I, device=device).to(self.dtype)
        self.ids = torch.randint(0, VOCABULARY, (T, B), device=device)
        self.vectors = torch.randn(T, B, I, device=device).to(self.dtype)
        self.weight = torch.randn(B, H, device=device)  # of the result in the loss

    def implementations(self) -> dict[str, Callable[[], list[Tensor]]]:
        """Return the implementations by name: each runs forward and returns the results and the leaves of gradients."""
        runs = {}
        if self.device == "cpu":
            runs["kernels, auto"] = self.ours("auto")
            runs["kernels, recompute"] = self.ours("torchscript", recompute=True)
            runs["jit loop"] = self._jit()
        else:
            flash = flash_rnn(self.cell, self.layer, self.dtype)
            runs |= {} if flash is None else {"FlashRNN": self._with_input(*flash)}
            if available.refusal(self.dtype, self.device) is None:
                runs["kernels, triton"] = self.ours("triton")
        if self.device == "cpu" or self.shape.T < LONG:
            runs["kernels, torchscript"] = self.ours("torchscript")
            runs["eager loop"] = self.ours("reference")
        if self.layer.plain:
            runs["torch.nn"] = self._torch_nn()
        return runs

    def ours(self, backend: str, recompute: bool = False) -> Callable[[], list[Tensor]]:
        """Return this project's layer with a backend."""
        layer = CELLS[self.cell](self.shape.I, self.shape.H, device=self.device, backend=backend, recompute=recompute)
        layer = layer.to(self.dtype)
        layer.load_state_dict(self.layer.state_dict())
        embedding = nn.Embedding.from_pretrained(self.embedding.weight.detach().clone(), freeze=False)
        vectors = self.vectors.clone().requires_grad_()

        def run() -> list[Tensor]:
            if self.shape.tokens:
                out, _ = layer.forward_ids(self.ids, embedding.weight, output="last")
                return [out, embedding.weight, *layer.parameters()]
            return [layer(vectors)[0], vectors, *layer.parameters()]

        return run

    def _torch_nn(self) -> Callable[[], list[Tensor]]:
        layer = getattr(nn, type(self.layer).__name__)(self.shape.I, self.shape.H, device=self.device, dtype=self.dtype)
        layer.load_state_dict(self.layer.state_dict())
        return self._with_input(lambda vectors: layer(vectors)[0], list(layer.parameters()))

    def _jit(self) -> Callable[[], list[Tensor]]:
        loop, (B, _, _, H, _) = jit_step(self.cell), self.shape
        own = {name: value.detach().clone().requires_grad_() for name, value in self.layer.named_parameters()}
        zeros = torch.zeros(B, H, device=self.device)
        recurrent = [value for name, value in own.items() if name[:9] in ("weight_hh", "weight_ch", "weight_pe")]
        if self.cell == "gru":
            recurrent.append(own["bias_hh_l0"])

        def run(vectors: Tensor) -> Tensor:
            bias = own["bias_l0"] if "bias_l0" in own else own["bias_ih_l0"]
            if self.cell not in ("gru", "peephole_full"):
                bias = bias + own["bias_hh_l0"]
            return loop(nn.functional.linear(vectors, own["weight_ih_l0"], bias), recurrent, zeros, zeros)

        return self._with_input(run, list(own.values()))

    def _with_input(self, function: Callable[[Tensor], Tensor], weights: list[Tensor]) -> Callable[[], list[Tensor]]:
        embedding = nn.Embedding.from_pretrained(self.embedding.weight.detach().clone(), freeze=False)
        leaf = self.vectors.clone().requires_grad_()

        def run() -> list[Tensor]:
            if self.shape.tokens:
                return [function(embedding(self.ids))[-1], embedding.weight, *weights]
            return [function(leaf), leaf, *weights]

        return run

    def autocast(self) -> Any:
        """Return the context of the precision."""
        if self.device == "cuda" or self.precision not in LOW:
            return nullcontext()
        return torch.autocast(self.device, LOW[self.precision], cache_enabled=False)

    def forward(self, run: Callable[[], list[Tensor]]) -> None:
        """Run without gradients."""
        with torch.no_grad(), self.autocast():
            run()

    def both(self, run: Callable[[], list[Tensor]]) -> list[Tensor]:
        """Run forward and backward; return the result and the gradients."""
        with self.autocast():
            out, *leaves = run()
        for leaf in leaves:
            leaf.grad = None
        (out.float() * self.weight).sum().backward()
        return [out.detach(), *(leaf.grad for leaf in leaves if leaf.grad is not None)]

    def oracle(self) -> list[Tensor]:
        """Return result and gradients in float64."""
        layer = copy.deepcopy(self.layer).double()
        leaf = (self.embedding.weight if self.shape.tokens else self.vectors).detach().double().requires_grad_()
        with forced("reference"):
            out, _ = layer.forward_ids(self.ids, leaf, output="last") if self.shape.tokens else layer(leaf)
        (out * self.weight.double()).sum().backward()
        gradients = [value.grad for value in (leaf, *layer.parameters())]
        return [out.detach(), *(gradient for gradient in gradients if gradient is not None)]


def error(values: list[Tensor], exact: list[Tensor]) -> float:
    """Return the larger relative distance from the oracle: of the result, of all gradients together."""

    def distance(pairs: list[tuple[Tensor, Tensor]]) -> float:
        ours, theirs = (torch.cat([value.double().flatten() for value in side]) for side in zip(*pairs, strict=True))
        return float((ours - theirs).norm() / theirs.norm())

    pairs = list(zip(values, exact, strict=True))
    return max(distance(pairs[:1]), distance(pairs[1:]))


def peak_memory(function: Callable[[], object], device: str) -> float:
    """Return by how many MB memory grows at most while a function runs."""
    memory.release()
    if device != "cpu":
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        function()
        return (torch.cuda.max_memory_allocated() - before) / 2**20
    try:
        Path("/proc/self/clear_refs").write_text("5")  # sets the peak to what is resident now
    except OSError:
        return float("nan")
    before = process_status("VmRSS")
    function()
    return (process_status("VmHWM") - before) / 2**10


def process_status(key: str) -> int:
    """Return an entry of Linux's account of this process, in KiB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(key))


def gemms(case: Case) -> Callable[[], None]:
    """Return a function that does the GEMMs of a cell alone, forward and backward, as its plain equations have them."""
    B, T, I, H, tokens = case.shape
    G_x, G_h = (gates * H for gates in GATES[case.cell])
    dtype = LOW.get(case.precision, torch.float32)

    def zeros(*size: int) -> Tensor:
        return torch.zeros(*size, dtype=dtype, device=case.device)

    state, gates, product = zeros(B, H), zeros(B, G_h), zeros(B, H)
    vectors, states, rows_x, rows_h = zeros(T * B, I), zeros(T * B, H), zeros(T * B, G_x), zeros(T * B, G_h)
    recurrent, back, weight = zeros(H, G_h), zeros(G_h, H), zeros(G_x, I)

    def run() -> None:
        for _ in range(T):
            torch.mm(state, recurrent, out=gates)
        for _ in range(T):
            torch.mm(gates, back, out=product)
        rows_h.T @ states
        if not tokens:
            torch.mm(vectors, weight.T, out=rows_x)
            rows_x.T @ vectors
            rows_x @ weight

    return run


def measure(case: Case, name: str, seconds: float) -> Iterator[dict[str, Any]]:
    """Yield a row for every implementation of a case, all timed in turn for about `seconds` each."""
    exact = case.oracle()
    runs, rows, row = case.implementations(), dict[str, dict[str, Any]](), dict[str, Any]()
    for implementation, run in list(runs.items()):
        row = {"cell": case.cell, "shape": name, "precision": case.precision, "implementation": implementation}
        rows[implementation] = row
        try:
            values = case.both(run)
            row["error"] = float("nan") if implementation in UNCHECKED else error(values, exact)
            wrong = implementation not in UNCHECKED and not row["error"] <= BOUND[case.precision]
            fault = f"error {row['error']:.1e}" if wrong else None
            row["memory_mb"] = peak_memory(partial(case.both, run), case.device)
        except Exception as failure:  # a peer that does not run here must not end the measurement
            if not works(case.device):
                raise
            fault = fault_of(failure)
        if fault is not None:
            print(f"WRONG: {case.cell}, {name}, {case.precision}, {implementation}: {fault}", file=sys.stderr)
            del runs[implementation]
            continue
    floor = gemms(case)
    passes: dict[tuple[str, str], Callable[[], object]] = {("GEMMs alone", "both_ms"): floor}
    for implementation, run in runs.items():
        passes[implementation, "forward_ms"] = partial(case.forward, run)
        passes[implementation, "both_ms"] = partial(case.both, run)
    medians = time_in_turn(passes, seconds, case.device)
    if case.device == "cuda":
        for implementation, run in runs.items():
            wall = statistics.median(wall_time(partial(case.both, run)) for _ in range(5))
            rows[implementation]["both_wall_ms"] = 1000 * wall
    rows["GEMMs alone"] = {"cell": case.cell, "shape": name, "precision": case.precision,
                           "implementation": "GEMMs alone"}  # fmt: skip
    for kind in ("forward_ms", "both_ms"):
        peers = [medians[peer, kind] for peer in PEERS if (peer, kind) in medians] or [float("nan")]
        for implementation, row in rows.items():
            if (implementation, kind) in medians:
                row[kind] = medians[implementation, kind]
                row[kind.replace("ms", "ratio")] = medians[implementation, kind] / min(peers)
                if case.device == "cuda":
                    row[kind.replace("ms", "floor_ms")] = floor_ms(
                        case.shape, GATES[case.cell], case.precision, backward=kind == "both_ms"
                    )
    yield from rows.values()


def fault_of(failure: Exception) -> str:
    """Return what went wrong, in one line."""
    return f"{type(failure).__name__}: {str(failure).splitlines()[:1]}"


def time_in_turn(passes: dict[Any, Callable[[], object]], seconds: float, device: str) -> dict[Any, float]:
    """Return the median milliseconds of each pass: all take turns, in another order each time, about `seconds` each."""
    times: dict[Any, list[float]] = {}
    once = {key: _time(work, device) for key, work in passes.items()}
    rounds = max(4, min(25, int(seconds * len(passes) / sum(once.values()) / 2)))
    order = random.Random(0)
    for _ in range(rounds):
        for key in order.sample(list(passes), len(passes)):
            passes[key]()
            times.setdefault(key, []).append(_time(passes[key], device))
    return {key: 1000 * statistics.median(values) for key, values in times.items()}


def _time(work: Callable[[], object], device: str) -> float:
    if device != "cpu":
        return time_on_gpu(work)
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def table(rows: list[dict[str, Any]]) -> str:
    """Return the rows as a Markdown table."""
    columns = COLUMNS + tuple(column for column in ON_GPU if any(column in row for row in rows))
    lines = ["| " + " | ".join(columns) + " |", "|" + " --- |" * len(columns)]
    for row in rows:
        cells = []
        for column in columns:
            value = row.get(column, "")
            if isinstance(value, float):
                digits = 3 if len(columns) > len(COLUMNS) and column.endswith("ms") else 2 if "ratio" in column else 1
                value = f"{value:.1e}" if column == "error" else f"{value:.{digits}f}"
            cells.append(str(value))
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def draw(rows: list[dict[str, Any]], path: Path) -> None:
    """Draw the ratios of forward + backward to the fastest peer, a panel a precision."""
    from matplotlib.figure import Figure

    precisions = list(dict.fromkeys(row["precision"] for row in rows))
    figure = Figure(figsize=(11, 4 * len(precisions)), layout="constrained")
    shown = {"kernels, auto": "#1f77b4", "torch.nn": "#d62728", "eager loop": "#bbbbbb", "jit loop": "#888888"}
    for axes, precision in zip(figure.subplots(len(precisions), 1, squeeze=False)[:, 0], precisions, strict=True):
        times: dict[str, dict[tuple[str, str], float]] = {implementation: {} for implementation in shown}
        for row in rows:
            if row["precision"] == precision and row["implementation"] in shown and "both_ms" in row:
                times[row["implementation"]][row["cell"], row["shape"]] = row["both_ms"]
        ours = times["kernels, auto"]
        cases = list(ours)
        for offset, (implementation, colour) in enumerate(shown.items()):
            there = [(k, case) for k, case in enumerate(cases) if case in times[implementation]]
            heights = [times[implementation][case] / ours[case] for _, case in there]
            axes.bar([k + 0.2 * offset for k, _ in there], heights, 0.2, label=implementation, color=colour)
        axes.set_xticks([k + 0.3 for k in range(len(cases))], [f"{cell}\n{shape}" for cell, shape in cases],
                        fontsize=6, rotation=90)  # fmt: skip
        axes.set(yscale="log", ylabel="time / ours", title=f"forward + backward, {precision}")
        axes.set_yticks((0.5, 1, 2, 5, 10), ("0.5", "1", "2", "5", "10"))
        axes.axhline(1, color="black", linewidth=0.6)
        axes.legend(frameon=False, ncols=4)
    figure.savefig(path, dpi=120)


def main() -> int:
    """Measure what the command line asks for; return 1 if a result was wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cells", nargs="+", choices=CELLS, default=list(CELLS))
    parser.add_argument("--shapes", nargs="+", choices=SHAPES, default=[name for name in SHAPES if name != "wide"])
    parser.add_argument("--precisions", nargs="+", choices=BOUND, default=["float32", "bf16"])
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--seconds", type=float, default=1.0, help="time for each implementation of a case")
    parser.add_argument("--out", type=Path, default=Path("runs/benchmarks/recurrent"), help="folder of the results")
    options = parser.parse_args()
    rows: list[dict[str, Any]] = []
    failed = False
    options.out.mkdir(parents=True, exist_ok=True)
    with (options.out / "recurrent.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS + (ON_GPU if options.device == "cuda" else ()))
        writer.writeheader()
        for precision, shape, cell in itertools.product(options.precisions, options.shapes, options.cells):
            try:
                new = list(measure(Case(cell, SHAPES[shape], precision, options.device), shape, options.seconds))
            except Exception as failure:  # must not end the measurement of the others
                print(f"WRONG: {cell}, {shape}, {precision}: {fault_of(failure)}", file=sys.stderr, flush=True)
                failed = True
                if not works(options.device):
                    return UNUSABLE
                continue
            print(table(new) if not rows else "\n".join(table(new).splitlines()[2:]), flush=True)
            writer.writerows(new)
            file.flush()
            rows += new
    print(f"\n{options.out / 'recurrent.csv'}")
    if options.device == "cpu":
        draw(rows, options.out / "recurrent.png")
        print(options.out / "recurrent.png")
    return int(failed or any(row["implementation"] != "GEMMs alone" and "both_ms" not in row for row in rows))


if __name__ == "__main__":
    sys.exit(main())
