"""All that is to be measured of the recurrent layers on a GPU, in one command of less than nine minutes.

    python -m benchmarks.recurrent_gpu              # torch with CUDA and triton are all it needs, and a checkout

First every cell in every precision is compared with float64, on small and odd shapes, then at the sizes that will be
timed, in few steps: outputs and all gradients. That runs in processes of their own, one a cell and precision, side by
side, each with a time limit, since a group of programs that fails to meet would wait for ever. What was wrong or did
not end is not timed. Then `benchmarks.recurrent` times each cell, one after another. The table, with the device and the
versions, is printed and saved as Markdown and CSV.
"""

import argparse
import csv
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from pathlib import Path

import torch
import triton
from torch import Tensor

from benchmarks.recurrent import BOUND, CELLS, COLUMNS, FLOORS, SHAPES, Case, Shape, error, table
from kernels import forced
from kernels.triton import available

ROOT = Path(__file__).resolve().parent.parent
TIMED = ("palindrome", "palindrome, vectors", "palindrome20, vectors", "book", "large", "wide")
PRECISIONS = ("tf32", "bf16", "fp16")
SMALL = (
    Shape(5, 7, 3, 37, False),
    Shape(1, 1, 4, 16, True),
    Shape(3, 9, 4, 128, True),
    Shape(40, 6, 8, 200, False),
    Shape(300, 3, 8, 256, True),
)
CHECK_SECONDS, TIME_SECONDS = 200, 100  # of one process at most
CHECK_STEPS = 4


def check(cell: str, precision: str, device: str) -> bool:
    """Compare one cell with float64 at all sizes; print a line each; return whether all were within the bound."""
    good = True
    bound = BOUND[precision]
    for shape in (*SMALL, *(SHAPES[name] for name in TIMED)):
        case = Case(cell, shape, precision, device, T=min(shape.T, CHECK_STEPS) if shape not in SMALL else None)
        for ragged in (False, True) if shape in SMALL else (False,):
            found = _distance(case, ragged)
            good &= found <= bound
            word = "ok" if found <= bound else "WRONG"
            sizes = ", ".join(f"{name} {size}" for name, size in zip("BTIH", case.shape, strict=False))
            print(f"{word}: {cell}, {precision}, {sizes}{', ragged' * ragged}: error {found:.1e}", flush=True)
    return good


def _distance(case: Case, ragged: bool) -> float:
    """Return the error of the Triton backend's outputs and gradients."""
    B, T = case.shape.B, case.shape.T
    lengths = torch.arange(B, device=case.device) % T + 1 if ragged else None

    def run(backend: str, dtype: torch.dtype) -> list[Tensor]:
        layer = CELLS[case.cell](case.shape.I, case.shape.H, device=case.device).to(case.dtype)
        layer.load_state_dict(case.layer.state_dict())
        layer = layer.to(dtype)
        leaf = (case.embedding.weight if case.shape.tokens else case.vectors).detach().to(dtype).requires_grad_()
        with forced(backend):  # type: ignore[arg-type]
            if case.shape.tokens:
                out, final = layer.forward_ids(case.ids, leaf, lengths=lengths)
            else:
                out, final = layer(leaf, lengths=lengths)
        last = torch.cat([value.flatten() for value in (final if isinstance(final, tuple) else (final,))])
        ((out.float() * case.weight).sum() + last.float().pow(2).sum()).backward()
        leaves = (leaf, *layer.parameters())
        return [out.detach(), *(value.grad for value in leaves if value.grad is not None)]

    return error(run("triton", case.dtype), run("reference", torch.float64))


def versions() -> str:
    """Return what the numbers depend on, in one line."""
    properties = torch.cuda.get_device_properties(0)
    return (
        f"{properties.name}, {properties.multi_processor_count} processors, torch {torch.__version__}, "
        f"triton {triton.__version__}, CUDA {torch.version.cuda}, cuDNN {torch.backends.cudnn.version()}, "
        f"{time.strftime('%Y-%m-%d')}"
    )


def _run(words: list[str], seconds: float) -> tuple[bool, str]:
    """Run this module's or another's command; return whether it ended well in time, and what it printed."""
    try:
        result = subprocess.run(
            [sys.executable, "-m", *words], capture_output=True, text=True, cwd=ROOT, timeout=max(1.0, seconds),
            env=os.environ | {"TRITON_INTERPRET": "0"},
        )  # fmt: skip
    except subprocess.TimeoutExpired as late:
        printed = late.stdout.decode() if isinstance(late.stdout, bytes) else late.stdout or ""
        return False, f"{printed}DID NOT END in {seconds:.0f} s: {' '.join(words)}\n"
    return result.returncode == 0, result.stdout + result.stderr[-3000:]


def main() -> int:
    """Check and time everything; return 1 if something was wrong, 2 if nothing can run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=8.5, help="of all together; what does not fit is named")
    parser.add_argument("--cells", nargs="+", choices=CELLS, default=list(CELLS))
    parser.add_argument("--out", type=Path, default=Path("runs/benchmarks/recurrent_gpu"), help="folder of the results")
    parser.add_argument("--check", nargs=2, metavar=("CELL", "PRECISION"), help="compare one cell here, and end")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda", help="of --check; a CPU interprets")
    options = parser.parse_args()
    if options.check:
        cell, precision = options.check
        return int(not check(cell, precision, options.device))
    reason = "there is no CUDA device" if not torch.cuda.is_available() else available.refusal(torch.float32, "cuda")
    if reason is not None:
        print(f"nothing is measured: {reason}", file=sys.stderr)
        return 2
    end = time.monotonic() + 60 * options.minutes
    print(versions(), flush=True)
    jobs = list(product(options.cells, (*PRECISIONS, "float32")))
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        words = [["benchmarks.recurrent_gpu", "--check", *job] for job in jobs]
        checked = dict(zip(jobs, pool.map(lambda job: _run(job, CHECK_SECONDS), words), strict=True))
    for job, (good, printed) in checked.items():
        print(printed if not good else f"ok: {', '.join(job)}", flush=True)
    rows, wrong = [], not all(good for good, _ in checked.values())
    for cell in options.cells:
        right = [precision for precision in PRECISIONS if checked[cell, precision][0]]
        left = min(TIME_SECONDS, end - time.monotonic())
        if not right or left < 10:
            print(f"not timed: {cell}, {'no time is left' if right else 'it is wrong'}", flush=True)
            continue
        folder = options.out.absolute() / cell
        own = ["--cells", cell, "--shapes", *TIMED, "--precisions", *right, "--out", str(folder)]
        good, printed = _run(["benchmarks.recurrent", "--device", "cuda", "--seconds", "0.1", *own], left)
        print(printed, flush=True)
        wrong |= not good
        if (folder / "recurrent.csv").exists():
            rows += list(csv.DictReader((folder / "recurrent.csv").open()))
    _save(options.out, rows)
    return int(wrong)


def _save(folder: Path, rows: list[dict[str, str]]) -> None:
    """Write the rows of all cells as CSV and as Markdown below a line of versions."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "recurrent_gpu.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, (*COLUMNS, *FLOORS, "versions"))
        writer.writeheader()
        writer.writerows(row | {"versions": versions()} for row in rows)
    words = ("cell", "shape", "precision", "implementation")
    numbers = [
        {name: value if name in words else float(value) for name, value in row.items() if value != ""} for row in rows
    ]
    text = f"{versions()}\n\n{table(numbers)}\n"
    (folder / "recurrent_gpu.md").write_text(text)
    print(f"{text}\n{folder / 'recurrent_gpu.md'}\n{folder / 'recurrent_gpu.csv'}")


if __name__ == "__main__":
    sys.exit(main())
