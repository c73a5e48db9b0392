"""The tables and the picture of docs/recurrent-speed.md, from the results that benchmarks/recurrent.py has written.

    python -m benchmarks.recurrent_report runs/benchmarks/recurrent/recurrent.csv

It prints a table for each precision and draws `recurrent.png` beside the file. The picture shows four shapes in
float32; the tables have everything. Results from a GPU make one table with the GPU's own times and the wall times.
"""

import argparse
import csv
import sys
from pathlib import Path

from benchmarks.recurrent_cases import GEMMS, SHAPES
from lightning_modules.options import existing_file

Times = dict[tuple[str, str, str], dict[str, dict[str, float]]]  # (precision, shape, cell) → implementation → column

NAMES = {
    "rnn": "RNN",
    "gru": "GRU",
    "lstm": "LSTM",
    "peephole_diagonal": "peephole, diagonal",
    "peephole_full": "peephole, full",
}
DRAWN = ("palindrome", "book", "large", "one row")  # shapes of the picture
PEERS = {"torch.nn": "#d62728", "eager loop": "#bbbbbb", "jit loop": "#777777"}
LABELS = {"torch.nn": "torch.nn", "eager loop": "eager loop", "jit loop": "TorchScript, its own autodiff"}


def read(path: Path) -> Times:
    """Return the milliseconds and megabytes of every implementation that was timed."""
    times: Times = {}
    with path.open(newline="") as file:
        for row in csv.DictReader(file):
            case = times.setdefault((row["precision"], row["shape"], row["cell"]), {})
            case[row["implementation"]] = {
                column: float(row[column]) for column in ("both_ms", "memory_mb") if row.get(column)
            }
    return {key: case for key, case in times.items() if "both_ms" in case.get("kernels, auto", {})}


def shape_text(shape: str) -> str:
    """Return a shape as the docs write it, such as "tokens (256, 41, 64, 256)"."""
    *sizes, tokens = SHAPES[shape]
    return f"{'tokens' if tokens else 'vectors'} ({', '.join(map(str, sizes))})"


def table(times: Times, precision: str) -> str:
    """Return the Markdown table of a precision: our time, its ratio to each peer's, and memory."""
    columns = ("input, shape (B, T, I, H)", "cell", "ms", "÷ torch.nn", "÷ eager loop", "÷ TorchScript autodiff",
               "÷ its GEMMs alone", "memory, MB", "memory with `recompute`, MB")  # fmt: skip
    lines = ["| " + " | ".join(columns) + " |", "|" + " --- |" * len(columns)]
    for (row_precision, shape, cell), case in times.items():
        if row_precision != precision:
            continue
        ours = case["kernels, auto"]
        cells = [shape_text(shape), NAMES[cell], f"{ours['both_ms']:.0f}"]
        for peer in (*PEERS, GEMMS):
            theirs = case.get(peer, {}).get("both_ms")
            cells.append("–" if theirs is None else f"{ours['both_ms'] / theirs:.2f}")
        for implementation in ("kernels, auto", "kernels, recompute"):
            memory = case.get(implementation, {}).get("memory_mb")
            cells.append("–" if memory is None else f"{memory:.0f}")
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def gpu_table(path: Path) -> str:
    """Return the Markdown table of results from a GPU: our times, and their ratios to those of torch.nn and a loop."""
    cases: dict[tuple[str, str, str], dict[str, dict[str, str]]] = {}
    with path.open(newline="") as file:
        for row in csv.DictReader(file):
            case = cases.setdefault((row["precision"], row["shape"], row["cell"]), {})
            case.setdefault(row["implementation"], row)  # a later one was measured beside other peers
    columns = ("precision", "input, shape (B, T, I, H)", "cell", "ms, GPU", "÷ torch.nn", "÷ torch.nn, packed",
               "÷ eager loop", "ms, wall", "wall ÷ torch.nn", "wall ÷ packed", "error")  # fmt: skip
    lines = ["| " + " | ".join(columns) + " |", "|" + " --- |" * len(columns)]
    for (precision, shape, cell), case in cases.items():
        if not (ours := case.get("kernels, triton")) or not ours["both_ms"]:
            continue

        def ratio(column: str, peer: str, case: dict[str, dict[str, str]] = case) -> str:
            theirs = case.get(peer, {}).get(column)
            return f"{float(case['kernels, triton'][column]) / float(theirs):.2f}" if theirs else "–"

        cells = [precision, shape_text(shape), NAMES[cell], f"{float(ours['both_ms']):.3f}"]
        cells += [ratio("both_ms", peer) for peer in ("torch.nn", "torch.nn, packed", "eager loop")]
        cells += [f"{float(ours['both_wall_ms']):.2f}"]
        cells += [ratio("both_wall_ms", peer) for peer in ("torch.nn", "torch.nn, packed")]
        lines.append("| " + " | ".join([*cells, f"{float(ours['error']):.1e}"]) + " |")
    return "\n".join(lines)


def draw(times: Times, path: Path) -> bool:
    """Draw each peer's float32 time divided by ours: a panel for each shape, a group of bars for each cell.

    Returns:
        Whether there was anything to draw.
    """
    from matplotlib.figure import Figure

    shapes = [shape for shape in DRAWN if any(key[:2] == ("float32", shape) for key in times)]
    if not shapes:
        return False
    figure = Figure(figsize=(2.9 * len(shapes), 4), layout="constrained")
    panels = figure.subplots(1, len(shapes), sharey=True, sharex=True, squeeze=False)[0]
    for axes, shape in zip(panels, shapes, strict=True):
        for place, cell in enumerate(NAMES):
            case = times.get(("float32", shape, cell), {})
            timed = [peer for peer in PEERS if "both_ms" in case.get(peer, {})]
            for k, peer in enumerate(timed):
                ratio = case[peer]["both_ms"] / case["kernels, auto"]["both_ms"]
                y = place + 0.26 * (k - (len(timed) - 1) / 2)
                axes.barh(y, ratio - 1, 0.24, left=1, color=PEERS[peer])
                axes.text(max(ratio, 1) * 1.04, y, f"{ratio:.1f}", va="center", fontsize=8)
        B, T, I, H, tokens = SHAPES[shape]
        title = f"{B} row{'s' * (B > 1)} of {T} {'tokens' if tokens else 'vectors'}\nI = {I}, H = {H}"
        axes.set(xscale="log", xlim=(0.8, 12), title=title)
        axes.set_xticks((1, 2, 4, 8), ("1", "2", "4", "8"))
        axes.set_xticks((), minor=True)
        axes.axvline(1, color="#1f77b4", linewidth=2)
        axes.grid(axis="x", alpha=0.3)
    panels[0].set_yticks(range(len(NAMES)), list(NAMES.values()))
    panels[0].invert_yaxis()
    figure.supxlabel(
        "time of a forward and backward pass in float32 ÷ ours (blue line); right of the line, ours is faster",
        fontsize=10,
    )
    handles = [panels[0].barh([0], [0], color=colour, label=LABELS[peer]) for peer, colour in PEERS.items()]
    figure.legend(handles=handles, loc="outside upper center", ncols=len(PEERS), frameon=False)
    figure.savefig(path, dpi=120)
    return True


def main() -> int:
    """Print the tables and draw the picture of the file that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=existing_file, help="recurrent.csv")
    results = parser.parse_args().results
    with results.open(newline="") as file:
        on_gpu = "both_wall_ms" in next(csv.reader(file), ())
    if on_gpu:
        print(gpu_table(results))
        return 0
    times = read(results)
    for precision in dict.fromkeys(key[0] for key in times):
        print(f"{precision}:\n\n{table(times, precision)}\n")
    draw(times, results.with_name("recurrent.png"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
