"""The results of a study: a table of means and standard deviations over the seeds, and curves with a band."""

import statistics
from pathlib import Path
from typing import Any

from lightning_modules.callbacks.colours import colour, line_style
from lightning_modules.files import write_whole
from lightning_modules.run_files import LAST_STEPS, curve, read_metrics, read_summary
from studies.analysis import markdown_table
from studies.runs import StudyRun

NOTE = (
    "Mean ± sample standard deviation (n − 1) over the seeds. "
    "Std over iterations: the standard deviation within each seed's run, averaged over the seeds."
)
Rows = dict[str, dict[int, Path]]  # for each setting, a row of the table: the run's folder of each seed


def write_report(finished: dict[StudyRun, Path], out: Path) -> None:
    """Print and write the table, and draw the curves, of finished runs.

    Args:
        finished: the folder of each finished run.
        out: folder for table.md and curves.png.

    Raises:
        UserError: if a run's summary.json or metrics.csv is damaged; nothing has been written then.
    """
    rows: Rows = {}
    for run, folder in finished.items():
        rows.setdefault(run.setting, {})[run.seed] = folder
    table = table_of(rows)
    curves = {setting: training_curves(list(folders.values())) for setting, folders in rows.items()}
    write_whole(out / "table.md", f"{table}\n\n{NOTE}\n")
    draw_bands(curves, out / "curves.png")
    print(f"\n{table}\n\n{NOTE}\n{out / 'table.md'}\n{out / 'curves.png'}")


def table_of(rows: Rows) -> str:
    """Return the table as Markdown, one row per setting; tasks that are scored in another way have another table."""
    tables: dict[tuple[str, ...], list[dict[str, str]]] = {}  # rows by their columns
    for setting, folders in rows.items():
        facts = [read_summary(folder) for folder in folders.values()]
        cells = {"setting": setting, "seeds": " ".join(map(str, folders))}
        for tag in sorted({tag for fact in facts for tag in fact if tag.startswith("test/")}):
            percent = 100 if tag == "test/accuracy" else 1
            cells[tag + (", %" if percent > 1 else "")] = spread([percent * fact[tag] for fact in facts if tag in fact])
        if len(cells) == 2:  # a task without a test split
            cells |= _training_cells(facts, list(folders.values()))
        cells["steps/s"] = f"{statistics.mean(fact['steps_per_second'] or 0 for fact in facts):.1f}"
        tables.setdefault(tuple(cells), []).append(cells)
    return "\n\n".join(map(markdown_table, tables.values()))


def _training_cells(facts: list[dict[str, Any]], folders: list[Path]) -> dict[str, str]:
    """Return the columns of a task without a test split, from the last iterations of its training."""
    primary_metric = primary_metric_of(folders[0])
    if primary_metric != "accuracy":
        return {f"{primary_metric} (last {LAST_STEPS} iterations)": spread([fact[primary_metric] for fact in facts])}
    last = [curve(read_metrics(folder / "metrics.csv"), "train/accuracy")[1][-LAST_STEPS:] for folder in folders]
    return {
        f"accuracy % (last {LAST_STEPS} iterations)": spread([100 * fact["accuracy"] for fact in facts]),
        "std over iterations": f"{statistics.mean(100 * statistics.pstdev(values) for values in last):.3f}",
        "solved at": ", ".join(str(fact["solved_at"] or "–") for fact in facts),
    }


def spread(values: list[float]) -> str:
    """Return the mean, and for several values their sample standard deviation."""
    return f"{statistics.mean(values):.3f}" + (f" ± {statistics.stdev(values):.3f}" if len(values) > 1 else "")


def primary_metric_of(run: Path) -> str:
    """Return the metric by which a finished run is scored."""
    return read_summary(run).get("primary_metric", "accuracy")


def training_curves(folders: list[Path]) -> dict[Path, list[float]]:
    """Return the metric by which each run is scored, at every training step."""
    return {
        folder: curve(read_metrics(folder / "metrics.csv"), f"train/{primary_metric_of(folder)}")[1]
        for folder in folders
    }


def draw_bands(curves: dict[str, dict[Path, list[float]]], path: Path) -> None:
    """Draw each setting's training curve: the mean over its runs in a band of one standard deviation.

    Args:
        curves: for each setting, the values of each run at every step; a curve ends with the shortest of its runs.
        path: the picture's file.
    """
    import numpy as np
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4 + 0.25 * len(curves)), layout="constrained")
    axes = figure.subplots()
    primary_metrics = []
    for number, (setting, runs) in enumerate(curves.items()):
        primary_metrics.append(primary_metric := primary_metric_of(next(iter(runs))))
        shortest = min(map(len, runs.values()))
        values = np.array([values[:shortest] for values in runs.values()])  # [seeds, iterations]
        mean, std = values.mean(0), values.std(0, ddof=min(1, len(runs) - 1))
        upper = np.minimum(mean + std, 1) if primary_metric == "accuracy" else mean + std
        label = f"{setting}, {len(runs)} seed{'s' * (len(runs) > 1)}"
        steps = np.arange(1, shortest + 1)
        axes.plot(steps, mean, line_style(number), linewidth=1, color=colour(number), label=label)
        axes.fill_between(steps, mean - std, upper, color=colour(number), alpha=0.25)
    axes.set(xlabel="iteration", ylabel=f"training {', '.join(dict.fromkeys(primary_metrics))}, mean ± std over seeds")
    axes.grid(alpha=0.3)
    figure.legend(frameon=False, loc="outside lower center")
    figure.savefig(path, dpi=120)
