"""Time, memory and error of every recurrent cell, backend and shape, compared with peers: a table, a CSV and a picture.

    python -m benchmarks.recurrent                              # everything, about half an hour on two cores
    python -m benchmarks.recurrent --cells lstm --shapes palindrome --precisions float32

benchmarks/recurrent_cases.py has the shapes, the backends and their peers. Times are medians over rounds; every round
runs all implementations, in random order. Each timed pass follows an untimed one of the same kind, as in training,
because caches and memory pages then are in the same state. A ratio is to the fastest peer. `error` is the relative
distance from the float64 oracle, the larger of that of the outputs and that of the gradients; an implementation whose
error is above its bound is not timed. `memory` is the largest growth of memory in a forward and backward pass: resident
memory on a CPU, allocated memory on a GPU.

16-bit precisions are autocast on a CPU, and 16-bit weights and inputs on a GPU. On a GPU times are the GPU's own;
further columns have the lower bound of benchmarks/cuda_timing.py and the wall time, which includes the launches.
`python -m benchmarks.recurrent_gpu` measures everything on a GPU. Rows are written as soon as they are measured. If the
GPU becomes unusable, the process ends with status 3.
"""

import os

os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")  # large pages, for all sides

import argparse
import csv
import itertools
import random
import statistics
import sys
import time
from collections.abc import Callable, Collection, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks import recurrent_report
from benchmarks.cuda_timing import floor_ms, time_on_gpu, wall_time, works
from benchmarks.recurrent_cases import (
    BOUND,
    CELLS,
    GATES,
    GEMMS,
    IMPLEMENTATIONS,
    PEERS,
    PLANS,
    SHAPES,
    Case,
    error,
    gemms,
    planned,
)
from kernels.scripted import memory

COLUMNS = ("cell", "shape", "precision", "implementation", "forward_ms", "both_ms", "forward_ratio", "both_ratio",
           "memory_mb", "error")  # fmt: skip
ON_GPU = ("forward_floor_ms", "both_floor_ms", "both_wall_ms")  # further columns
WALL_ROUNDS = 15  # of wall times on a GPU
UNUSABLE = 3  # status of a process whose GPU cannot be used any more


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


def measure(case: Case, name: str, seconds: float, asked: Collection[str]) -> Iterator[dict[str, Any]]:
    """Yield a row for every implementation of a case, each timed for about `seconds`, in alternation."""
    exact = case.oracle()
    runs, rows, row = dict[str, Callable[[], list[Tensor]]](), dict[str, dict[str, Any]](), dict[str, Any]()
    for implementation, make in case.implementations(asked).items():
        row = {"cell": case.cell, "shape": name, "precision": case.precision, "implementation": implementation}
        rows[implementation] = row
        try:
            run = make()
            case.forward(run)
            values = case.both(run)
            row["error"] = error(values, exact)
            fault = None if row["error"] <= BOUND[case.precision] else f"error {row['error']:.1e}"
            row["memory_mb"] = peak_memory(partial(case.both, run), case.device)
        except Exception as failure:  # a peer that does not run here must not end the measurement
            if not works(case.device):
                raise
            fault = fault_of(failure)
        if fault is not None:
            print(f"WRONG: {case.cell}, {name}, {case.precision}, {implementation}: {fault}", file=sys.stderr)
            continue
        runs[implementation] = run
    passes: dict[tuple[str, str], Callable[[], object]] = {}
    if GEMMS in asked:
        passes[GEMMS, "both_ms"] = gemms(case)
        rows[GEMMS] = {"cell": case.cell, "shape": name, "precision": case.precision, "implementation": GEMMS}
    for implementation, run in runs.items():
        passes[implementation, "forward_ms"] = partial(case.forward, run)
        passes[implementation, "both_ms"] = partial(case.both, run)
    medians = time_in_turn(passes, seconds, case.device) if passes else {}
    if case.device == "cuda":
        walls: dict[str, list[float]] = {implementation: [] for implementation in runs}
        for _, implementation in itertools.product(range(WALL_ROUNDS), runs):
            walls[implementation].append(wall_time(partial(case.both, runs[implementation])))
        for implementation, seconds_of in walls.items():
            rows[implementation]["both_wall_ms"] = 1000 * statistics.median(seconds_of)
    for kind in ("forward_ms", "both_ms"):
        theirs = [medians[peer, kind] for peer in PEERS if (peer, kind) in medians] or [float("nan")]
        for implementation, row in rows.items():
            if (implementation, kind) in medians:
                row[kind] = medians[implementation, kind]
                row[kind.replace("ms", "ratio")] = medians[implementation, kind] / min(theirs)
                if case.device == "cuda":
                    row[kind.replace("ms", "floor_ms")] = floor_ms(
                        case.shape, GATES[case.cell], case.precision, backward=kind == "both_ms"
                    )
    yield from rows.values()


def fault_of(failure: Exception) -> str:
    """Return what went wrong, in one line."""
    return f"{type(failure).__name__}: {str(failure).partition(chr(10))[0]}"


def time_in_turn(passes: dict[Any, Callable[[], object]], seconds: float, device: str) -> dict[Any, float]:
    """Return the median milliseconds of each pass, timed for about `seconds` in rounds of random order."""
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


def main() -> int:
    """Measure what the command line asks for; return 1 if a result was wrong, 2 if nothing can run, or UNUSABLE."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cells", nargs="+", choices=CELLS, default=list(CELLS))
    parser.add_argument("--shapes", nargs="+", choices=SHAPES, default=[name for name in SHAPES if name != "wide"])
    parser.add_argument("--precisions", nargs="+", choices=BOUND, default=["float32", "bf16"])
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--implementations", nargs="+", choices=IMPLEMENTATIONS, default=IMPLEMENTATIONS,
                        help="those of them that run on this machine are timed")  # fmt: skip
    parser.add_argument("--plan", choices=PLANS, default="own", help="plan of the Triton kernels")
    parser.add_argument("--seconds", type=float, default=1.0, help="time for each implementation of a case")
    parser.add_argument("--out", type=Path, default=Path("runs/benchmarks/recurrent"), help="folder of the results")
    options = parser.parse_args()
    if not works(options.device):
        print(f"nothing is measured: device {options.device} cannot be used", file=sys.stderr)
        return 2
    rows: list[dict[str, Any]] = []
    failed = False
    options.out.mkdir(parents=True, exist_ok=True)
    with (options.out / "recurrent.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS + (ON_GPU if options.device == "cuda" else ()))
        writer.writeheader()
        for precision, shape, cell in itertools.product(options.precisions, options.shapes, options.cells):
            try:
                case = Case(cell, SHAPES[shape], precision, options.device)
                with planned(PLANS[options.plan]):
                    new = list(measure(case, shape, options.seconds, options.implementations))
                for row in new:
                    if options.plan != "own" and row["implementation"] == "kernels, triton":
                        row["implementation"] += f", {options.plan}"
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
    if recurrent_report.draw(recurrent_report.read(options.out / "recurrent.csv"), options.out / "recurrent.png"):
        print(options.out / "recurrent.png")
    return int(failed or any(row["implementation"] != GEMMS and "both_ms" not in row for row in rows))


if __name__ == "__main__":
    sys.exit(main())
