"""All that is to be measured of the recurrent layers on a GPU, in one command of less than nine minutes.

    python -m benchmarks.recurrent_gpu              # torch with CUDA and triton are all it needs, and a checkout

In turn, each part in processes of its own with a time limit, since programs that fail to meet would wait for ever:

1. A small check, with a group, alone. If it does not end, nothing else is tried.
2. `benchmarks.recurrent_check`, every cell and precision side by side. What does not end is timed last.
3. The small check under compute-sanitizer, where that is installed.
4. `benchmarks.recurrent`, a cell and precision at a time, those first of which something is claimed; and the LSTM with
   other shares of its weights in a program, and with whole sums in each warp. A process that fails is started anew
   behind the shape at which it failed.

The log, the table (Markdown and CSV) and the claims with what was found are on the disk after every part, also when the
command is stopped. Returns 1 if something was wrong, 2 if nothing can run.
"""

import argparse
import csv
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import torch
import triton

from benchmarks.cuda_timing import works
from benchmarks.recurrent import (
    BOUND,
    CELLS,
    COLUMNS,
    LONG,
    ON_GPU,
    SHAPES,
    Case,
    error,
    fault_of,
    table,
    time_in_turn,
)
from benchmarks.recurrent_check import TIMED
from kernels.triton import available, launch

ROOT = Path(__file__).resolve().parent.parent
PRECISIONS = ("bf16", "tf32", "fp16")  # that are timed
CLAIMED = {"palindrome, vectors": 0.7, "palindrome20, vectors": 0.7, "book": 0.7, "large": 1.0, "wide": 1.0}
SWEPT = ("palindrome, vectors", "book", "large")
PLANS = {f"{kib} KiB": {"HELD_BYTES": kib << 10, "SPREAD_UNITS": 1 << 20} for kib in (128, 64, 32)}
PLANS["whole sums"] = {"SUMS": 0}  # no warp has a part of its own
FIRST_SECONDS, CHECK_SECONDS, SANITIZER_SECONDS, TIME_SECONDS = 60, 150, 60, 90  # of a part at most
NOT_ENDED = (124, 137)  # what the command timeout returns then
Rows = list[dict[str, Any]]


def run(commands: Sequence[Sequence[str]], seconds: float) -> list[tuple[int, str]]:
    """Run commands side by side; return the status of each and what it printed.

    Each ends with its time limit, whatever becomes of this process, and with this process where that is stopped.
    """
    children: list[tuple[subprocess.Popen[bytes], Any]] = []
    environment = os.environ | {"TRITON_INTERPRET": "0", "PYTHONUNBUFFERED": "1"}
    try:
        for words in commands:
            printed = tempfile.TemporaryFile()  # noqa: SIM115 - read below
            limited = ["timeout", "-k", "5", f"{max(1.0, seconds):.0f}", *words]
            child = subprocess.Popen(limited, stdout=printed, stderr=subprocess.STDOUT, cwd=ROOT, env=environment)
            children.append((child, printed))
        found = []
        for child, printed in children:
            status = child.wait()
            printed.seek(0)
            text = printed.read().decode(errors="replace")
            note = f"DID NOT END in {seconds:.0f} s: {' '.join(map(str, child.args[4:]))}\n"  # type: ignore[index]
            found.append((status, text + note * (status in NOT_ENDED)))
        return found
    finally:
        for child, printed in children:
            if child.poll() is None:
                child.terminate()
            printed.close()


class Report:
    """Log, table and claims in a folder, whole after every part.

    Args:
        folder: where they are written.
        versions: what the numbers depend on.
    """

    def __init__(self, folder: Path, versions: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.versions, self.running = folder, versions, folder.absolute() / "running"
        shutil.rmtree(self.running, ignore_errors=True)
        self.rows: Rows = []
        (folder / "log.txt").write_text("")
        self.note(versions)

    def note(self, text: str) -> None:
        """Print a text, and add it to the log."""
        print(text, flush=True)
        with (self.folder / "log.txt").open("a") as file:
            file.write(text.rstrip() + "\n")

    def collect(self) -> set[str]:
        """Add the rows of the process that has ended, write table and claims anew; return the shapes of these rows."""
        rows = read(self.running / "recurrent.csv")
        shutil.rmtree(self.running, ignore_errors=True)
        self.rows += rows
        with (self.folder / "recurrent_gpu.csv").open("w", newline="") as file:
            writer = csv.DictWriter(file, (*COLUMNS, *ON_GPU, "versions"))
            writer.writeheader()
            writer.writerows(row | {"versions": self.versions} for row in self.rows)
        lines = [self.versions, "", table(self.rows), "", *(f"- {line}" for line in claims(self.rows))]
        (self.folder / "recurrent_gpu.md").write_text("\n".join(lines) + "\n")
        return {row["shape"] for row in rows}


def claims(rows: Rows) -> list[str]:
    """Return what is demanded of the kernels, a line each: whether it was found, the ratio, the limit."""
    found = {(row["cell"], row["shape"], row["precision"], row["implementation"]): row for row in rows}
    lines: list[str] = []

    def claim(
        column: str, limit: float, precision: str, shape: str, ours: tuple[str, str], theirs: tuple[str, str]
    ) -> None:
        value, other = (found.get((cell, shape, precision, name), {}).get(column) for cell, name in (ours, theirs))
        where = f"{column} of {' '.join(ours)} / {' '.join(theirs)}, {precision}, {shape}"
        if value is None or other is None:
            lines.append(f"not measured: {where}")
        else:
            lines.append(
                f"{'yes' if value <= limit * other else 'NO'}: {where}: {value / other:.3f}, limit {limit:.2f}"
            )

    own = "kernels, triton"
    lstm, peephole = ("lstm", own), ("peephole_full", own)
    for precision, shape in product(("bf16", "tf32"), CLAIMED):
        claim("both_ms", CLAIMED[shape], precision, shape, lstm, ("lstm", "torch.nn"))
        claim("both_ms", 0.8, precision, shape, peephole, lstm)
        if SHAPES[shape].T < LONG:
            claim("both_ms", 1 / 20, precision, shape, peephole, ("peephole_full", "eager loop"))
    for cell, precision, shape in product(("lstm", "gru", "rnn"), PRECISIONS, CLAIMED):
        claim("error", 1.2, precision, shape, (cell, own), (cell, "torch.nn"))
    return lines


def read(path: Path) -> Rows:
    """Return the rows of a CSV of `benchmarks.recurrent`, as far as it was written."""
    if not path.exists():
        return []
    words = ("cell", "shape", "precision", "implementation")
    with path.open() as file:
        lines = [row for row in csv.DictReader(file) if None not in row.values()]
    return [
        {name: value if name in words else float(value) for name, value in row.items() if value != ""} for row in lines
    ]


def time_cell(report: Report, cell: str, precision: str, end: float) -> bool:
    """Time a cell at all shapes; where a process fails, go on behind the shape at which it did."""
    shapes, good = list(TIMED), True
    while shapes and (left := min(TIME_SECONDS, end - time.monotonic())) > 10:
        words = ["-m", "benchmarks.recurrent", "--device", "cuda", "--seconds", "0.1", "--out", str(report.running)]
        words += ["--cells", cell, "--precisions", precision, "--shapes", *shapes]
        [(status, text)] = run([[sys.executable, *words]], left)
        report.note(text)
        done = report.collect()
        good &= status == 0
        left_out = [shape for shape in shapes if shape not in done]
        shapes = [] if status in (0, 1) else left_out[1:]
    if shapes:
        report.note(f"not timed: {cell}, {precision}: {', '.join(shapes)}: no time is left")
    return good and not shapes


def time_sweep(report: Report, precision: str, end: float) -> bool:
    """Run `sweep` in a process of its own, if there is time."""
    if (left := min(TIME_SECONDS, end - time.monotonic())) <= 10:
        report.note(f"no time is left to sweep, {precision}")
        return False
    words = ["-m", "benchmarks.recurrent_gpu", "--sweep", precision, "--out", str(report.running)]
    [(status, text)] = run([[sys.executable, *words]], left)
    report.note(text)
    report.collect()
    return status == 0


def sweep(precision: str, folder: Path) -> None:
    """Time the LSTM with other plans; write the rows as they come."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "recurrent.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, (*COLUMNS, *ON_GPU))
        writer.writeheader()
        for shape, (name, constants) in product(SWEPT, PLANS.items()):
            row: dict[str, Any] = {"cell": "lstm", "shape": shape, "precision": precision}
            row["implementation"] = f"kernels, triton, {name}"
            try:
                with planned(constants):
                    case = Case("lstm", SHAPES[shape], precision, "cuda")
                    layer = case.ours("triton")
                    row["error"] = error(case.both(layer), case.oracle())
                    passes: dict[Any, Any] = {
                        "forward_ms": partial(case.forward, layer),
                        "both_ms": partial(case.both, layer),
                    }
                    row |= time_in_turn(passes, 0.1, "cuda")
            except Exception as failure:  # must not end the others
                print(f"WRONG: {row['implementation']}, {shape}, {precision}: {fault_of(failure)}", flush=True)
                if not works("cuda"):
                    sys.exit(1)
            writer.writerow(row)
            file.flush()
            print(table([row]).splitlines()[-1], flush=True)


@contextmanager
def planned(constants: dict[str, int]) -> Iterator[None]:
    """Plan with other constants of `kernels/triton/launch.py`."""
    previous = {name: getattr(launch, name) for name in constants}
    try:
        for name, value in constants.items():
            setattr(launch, name, value)
        yield
    finally:
        for name, value in previous.items():
            setattr(launch, name, value)


def check_all(report: Report, cells: list[str], end: float) -> tuple[bool, set[tuple[str, str]] | None]:
    """Check every cell and precision; return whether all was right, and what did not end, None for the very first."""
    first = [sys.executable, "-m", "benchmarks.recurrent_check", "lstm", "bf16", "--small"]
    [(status, text)] = run([first], min(FIRST_SECONDS, end - time.monotonic()))
    report.note(text)
    if status in NOT_ENDED:
        report.note("a small group does not end: nothing else is tried")
        return False, None
    good, hung = status == 0, set()
    jobs = list(product(cells, (*PRECISIONS, "float32")))
    commands = [[sys.executable, "-m", "benchmarks.recurrent_check", *job] for job in jobs]
    for job, (status, text) in zip(jobs, run(commands, min(CHECK_SECONDS, end - time.monotonic())), strict=True):
        report.note(text if status else f"ok: {', '.join(job)}, {len(text.splitlines())} cases")
        good &= status == 0
        if status in NOT_ENDED:
            hung.add(job)
    path = f"{os.environ.get('PATH', '')}:/usr/local/cuda/bin"
    if (sanitizer := shutil.which("compute-sanitizer", path=path)) is not None:
        words = [sanitizer, "--error-exitcode", "9", *first]
        [(status, text)] = run([words], min(SANITIZER_SECONDS, end - time.monotonic()))
        report.note(f"compute-sanitizer, status {status}:\n{text[-6000:]}")
        good &= status == 0
    else:
        report.note("there is no compute-sanitizer")
    return good, hung


def measure_all(report: Report, cells: list[str], end: float) -> bool:
    """Check, then time everything; return whether all was right."""
    good, hung = check_all(report, cells, end)
    if hung is None:
        return False
    claimed = [
        (cell, precision) for precision in ("bf16", "tf32") for cell in ("lstm", "peephole_full") if cell in cells
    ]
    swept = [("sweep", precision) for precision in ("bf16", "tf32")]
    others = [job for job in product(cells, PRECISIONS) if job not in claimed]
    for cell, precision in sorted([*claimed, *swept, *others], key=lambda job: job in hung):
        if cell == "sweep":
            good &= time_sweep(report, precision, end)
        else:
            good &= time_cell(report, cell, precision, end)
    return good


def main() -> int:
    """Check and time everything; return 1 if something was wrong, 2 if nothing can run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=8.5, help="of all together; what does not fit is named")
    parser.add_argument("--cells", nargs="+", choices=CELLS, default=list(CELLS))
    parser.add_argument("--out", type=Path, default=Path("runs/benchmarks/recurrent_gpu"), help="folder of the results")
    parser.add_argument("--sweep", choices=BOUND, help="time other plans of the LSTM here, and end")
    options = parser.parse_args()
    if options.sweep:
        sweep(options.sweep, options.out)
        return 0
    reason = "there is no CUDA device" if not torch.cuda.is_available() else available.refusal(torch.float32, "cuda")
    if reason is not None:
        print(f"nothing is measured: {reason}", file=sys.stderr)
        return 2
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    properties = torch.cuda.get_device_properties(0)
    report = Report(
        options.out,
        f"{properties.name}, {properties.multi_processor_count} processors, torch {torch.__version__}, "
        f"triton {triton.__version__}, CUDA {torch.version.cuda}, cuDNN {torch.backends.cudnn.version()}, "
        f"{time.strftime('%Y-%m-%d')}",
    )
    try:
        good = measure_all(report, options.cells, time.monotonic() + 60 * options.minutes)
    finally:
        report.collect()
        report.note((report.folder / "recurrent_gpu.md").read_text())
    return int(not good)


if __name__ == "__main__":
    sys.exit(main())
