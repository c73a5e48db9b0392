"""All measurements of the recurrent layers on a GPU, in one command of less than nine minutes.

    python -m benchmarks.recurrent_gpu              # needs torch with CUDA, triton and a C compiler

It has six parts. Each runs in its own processes with a time limit, because programs that fail to meet wait forever:

1. A small check with a group of programs. If it does not end, nothing else is tried.
2. `benchmarks.recurrent_check` for the cells that are measured, in every precision, as many at a time as there are
   CPUs. What does not end is timed last.
3. `benchmarks.recurrent` for the cells and precisions about which something is claimed, one at a time. After a failure
   it continues with the next shape.
4. The small check under compute-sanitizer, if that is installed.
5. The LSTM with other amounts of weights in a program and with unsplit sums; then the other cells and precisions.
6. FlashRNN's package, if it is installed; it compiles for minutes.

A new folder gets the log, the table (Markdown and CSV) and the claims with what was measured. It is up to date after
every part, also if the command is stopped. Returns 1 if something was wrong, 2 if nothing can run, 3 if everything was
right but there was too little time.
"""

import argparse
import csv
import importlib.util
import io
import os
import shutil
import signal
import sys
import time
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import Any

import torch

from benchmarks.limited_processes import NOT_ENDED, run
from benchmarks.recurrent import COLUMNS, ON_GPU, table
from benchmarks.recurrent_cases import CELLS, IMPLEMENTATIONS, LONG, SHAPES
from benchmarks.recurrent_check import TIMED
from kernels.triton import available

PRECISIONS = ("bf16", "tf32", "fp16", "float32")
CLAIMED = {"palindrome, vectors": 0.7, "palindrome20, vectors": 0.7, "book": 0.7, "large": 1.0, "wide": 1.0}
SWEPT = ("palindrome, vectors", "book", "large")
OTHER_PLANS = {  # names in `benchmarks.recurrent_cases.PLANS` that differ from a kernel's own plan
    ("bf16", "128 KiB"): SWEPT,
    ("bf16", "64 KiB"): ("book",),
    ("bf16", "32 KiB"): ("palindrome, vectors",),
    ("bf16", "whole sums"): SWEPT,
    ("tf32", "192 KiB"): ("wide",),
    ("tf32", "128 KiB"): ("book",),
    ("tf32", "64 KiB"): ("palindrome, vectors",),
    ("tf32", "whole sums"): SWEPT,
}
FIRST_SECONDS, CHECK_SECONDS, SANITIZER_SECONDS, TIME_SECONDS = 150, 120, 120, 90  # limits of the parts
SMALL_CHECK = (sys.executable, "-m", "benchmarks.recurrent_check", "lstm", "bf16", "--small")
WORDS = ("--implementations", *(name for name in IMPLEMENTATIONS if name != "FlashRNN"))  # it compiles for minutes
Rows = list[dict[str, Any]]


class Report:
    """Log, table and claims in a folder, complete after every part.

    Args:
        folder: where they are written.
        versions: device and versions, on which the numbers depend.
    """

    def __init__(self, folder: Path, versions: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.versions, self.running = folder, versions, folder.absolute() / "running"
        shutil.rmtree(self.running, ignore_errors=True)
        self.rows: Rows = []
        self.left_out: list[str] = []  # for lack of time
        self.note(versions)

    def note(self, text: str) -> None:
        """Print a text, and add it to the log."""
        print(text, flush=True)
        with (self.folder / "log.txt").open("a") as file:
            file.write(text.rstrip() + "\n")

    def leave_out(self, what: str) -> None:
        """Note what there was no time for."""
        self.left_out.append(what)
        self.note(f"no time is left: {what}")

    def collect(self) -> set[str]:
        """Add the rows of the process that has ended, rewrite table and claims; return the shapes of these rows."""
        rows = read(self.running / "recurrent.csv")
        self.rows += rows
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, (*COLUMNS, *ON_GPU, "versions"))
        writer.writeheader()
        writer.writerows(row | {"versions": self.versions} for row in self.rows)
        lines = [self.versions, "", table(self.rows), "", *(f"- {line}" for line in claims(self.rows))]
        lines += [f"- no time was left: {what}" for what in self.left_out]
        for name, content in {
            "recurrent_gpu.csv": text.getvalue(),
            "recurrent_gpu.md": "\n".join(lines) + "\n",
        }.items():
            beside = self.folder / f".{name}"
            beside.write_text(content)
            beside.replace(self.folder / name)
        shutil.rmtree(self.running, ignore_errors=True)  # only now that the rows are on the disk
        return {row["shape"] for row in rows}


def claims(rows: Rows) -> list[str]:
    """Return one line for each claim about the kernels: whether it holds, the ratio, the limit."""
    # The first of several rows counts; later ones were measured beside other peers.
    found = {(row["cell"], row["shape"], row["precision"], row["implementation"]): row for row in reversed(rows)}
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
        for time_of in ("both_ms", "both_wall_ms"):  # the GPU's own time, and the time that a caller sees
            for peer in ("torch.nn", "torch.nn, packed") if precision == "bf16" else ("torch.nn",):
                claim(time_of, CLAIMED[shape], precision, shape, lstm, ("lstm", peer))
            claim(time_of, 0.8, precision, shape, peephole, lstm)
            if SHAPES[shape].T < LONG:
                claim(time_of, 1 / 20, precision, shape, peephole, ("peephole_full", "eager loop"))
    for cell, precision, shape in product(("lstm", "gru", "rnn"), PRECISIONS, CLAIMED):
        claim("error", 1.2, precision, shape, (cell, own), (cell, "torch.nn"))
    return lines


def read(path: Path) -> Rows:
    """Return the complete rows of a CSV of `benchmarks.recurrent`."""
    if not path.exists():
        return []
    words = ("cell", "shape", "precision", "implementation")
    with path.open() as file:
        lines = [row for row in csv.DictReader(file) if None not in row.values()]
    return [
        {name: value if name in words else float(value) for name, value in row.items() if value != ""} for row in lines
    ]


def time_in_parts(
    report: Report, cell: str, precision: str, end: float, shapes: Sequence[str] = TIMED, words: Sequence[str] = WORDS,
    what: str = "", seconds: float = TIME_SECONDS
) -> bool:  # fmt: skip
    """Time a cell at some shapes; if a process fails, continue with the next shape.

    Args:
        report: gets the rows.
        cell: name of the cell.
        precision: precision of its products.
        end: deadline on the clock of time.monotonic().
        shapes: names in `benchmarks.recurrent_cases.SHAPES`.
        words: further options of `benchmarks.recurrent`.
        what: name of these options in the report.
        seconds: limit of one process.
    """
    command = [sys.executable, "-m", "benchmarks.recurrent", "--device", "cuda", "--seconds", "0.1", *words]
    command += ["--out", str(report.running), "--cells", cell, "--precisions", precision]
    good = True
    while shapes and end - time.monotonic() > 10:
        [(status, text)] = run([[*command, "--shapes", *shapes]], seconds, end)
        report.note(text)
        done = report.collect()
        if status in (0, 1):
            return good and status == 0
        shapes = [shape for shape in shapes if shape not in done]
        if not late(status, end):
            good, shapes = False, shapes[1:]
    if shapes:
        report.leave_out(f"{cell}, {precision}{what}: {'; '.join(shapes)}")
    return good


def late(status: int, end: float) -> bool:
    """Return whether a process was stopped by the deadline of all parts, not by its own limit."""
    return status == NOT_ENDED and time.monotonic() > end - 1


def check_all(report: Report, cells: list[str], end: float) -> tuple[bool, set[tuple[str, str]] | None]:
    """Check all cells and precisions; return whether all were right, and which did not end (None: the very first)."""
    [(status, text)] = run([SMALL_CHECK], FIRST_SECONDS, end)
    report.note(text)
    if status == NOT_ENDED:
        report.note("a small group does not end: nothing else is tried")
        return False, None
    good, hung = status == 0, set()
    jobs = [(cell, precision) for precision, cell in product(PRECISIONS, cells)]
    commands = [[sys.executable, "-m", "benchmarks.recurrent_check", *job] for job in jobs]
    for job, (status, text) in zip(jobs, run(commands, CHECK_SECONDS, end), strict=True):
        report.note(text if status else f"ok: {', '.join(job)}, {len(text.splitlines())} cases")
        if late(status, end):
            report.leave_out(f"the check of {', '.join(job)}")
        else:
            good &= status == 0
        if status == NOT_ENDED:
            hung.add(job)
    return good, hung


def sanitize(report: Report, end: float) -> bool:
    """Run the small check under compute-sanitizer, if that is installed."""
    path = f"{os.environ.get('PATH', '')}:/usr/local/cuda/bin"
    if (sanitizer := shutil.which("compute-sanitizer", path=path)) is None:
        report.note("there is no compute-sanitizer")
        return True
    # Without torch's cache every tensor has its own memory, so that an access beyond it is found.
    words = ["env", "PYTORCH_NO_CUDA_MEMORY_CACHING=1", sanitizer, "--report-api-errors", "no", "--error-exitcode", "9"]
    [(status, text)] = run([[*words, *SMALL_CHECK]], SANITIZER_SECONDS, end)
    report.note(f"compute-sanitizer, status {status}:\n{text[-6000:]}")
    if status == NOT_ENDED:
        report.leave_out("compute-sanitizer")
    return status in (0, NOT_ENDED)


def measure_all(report: Report, cells: list[str], end: float) -> bool:
    """Check, then time everything; return whether all was right."""
    good, hung = check_all(report, cells, end)
    if hung is None:
        return False
    claimed = [job for job in product(("lstm", "peephole_full"), ("bf16", "tf32")) if job[0] in cells]
    others = [(cell, precision) for precision, cell in product(PRECISIONS, cells) if (cell, precision) not in claimed]
    for job in claimed:
        good &= job in hung or time_in_parts(report, *job, end)
    good &= sanitize(report, end)
    for (precision, plan), shapes in OTHER_PLANS.items():
        words = ["--implementations", "kernels, triton", "--plan", plan]
        if "lstm" in cells and ("lstm", precision) not in hung:
            good &= time_in_parts(report, "lstm", precision, end, shapes, words, f", {plan}")
    for job in others:
        good &= job in hung or time_in_parts(report, *job, end)
    for job in (*claimed, *others):
        if job in hung:  # these may take all remaining time
            good &= time_in_parts(report, *job, end)
    if importlib.util.find_spec("flashrnn") is None:
        report.note("FlashRNN is not installed")
    else:  # its failures are not ours
        words = ["--implementations", "FlashRNN", "torch.nn", "kernels, triton"]
        time_in_parts(report, "lstm", "bf16", end, SWEPT, words, ", FlashRNN", float("inf"))
    return good


def main() -> int:
    """Check and time everything; return 1 if something was wrong, 2 if nothing can run, 3 for lack of time."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--minutes", type=float, default=8.5, help="limit of all parts together; what does not fit is listed"
    )
    parser.add_argument("--cells", nargs="+", choices=CELLS, default=list(CELLS))
    default = Path("runs/benchmarks") / f"recurrent_gpu_{time.strftime('%Y-%m-%d_%H%M%S')}"
    parser.add_argument("--out", type=Path, default=default, help="new folder for the results")
    options = parser.parse_args()
    reason = "there is no CUDA device" if not torch.cuda.is_available() else available.refusal(torch.float32, "cuda")
    if reason is None and options.out.exists() and (not options.out.is_dir() or any(options.out.iterdir())):
        reason = f"{options.out} exists; name a new folder"
    if reason is not None:
        print(f"nothing is measured: {reason}", file=sys.stderr)
        return 2
    import triton  # here, because a line above reports that it is missing

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
    return 1 if not good else 3 if report.left_out else 0


if __name__ == "__main__":
    sys.exit(main())
