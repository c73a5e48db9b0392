"""Training curves of runs, thinned and stored as data/<claim id>.csv of a results folder."""

import statistics
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning_modules.run_files import curve, read_metrics
from studies.analysis import read_csv, write_csv

POINTS = 320  # rows of a stored curve, at most


def thinned(folders: Mapping[int, Path], tags: tuple[str, ...]) -> dict[str, list[Any]]:
    """Return the curves of runs as columns "TAG SEED": means over windows of iterations, at most `POINTS` rows.

    Args:
        folders: the folder of each run by its seed.
        tags: what to read from metrics.csv; a run without one of them gets no column for it.

    Returns:
        The columns; `iteration` is the last iteration of each mean, counted from 1. A cell is empty where a tag has no
        value, as that of a validation in between.
    """
    curves = {}
    for seed, folder in folders.items():
        rows = read_metrics(folder / "metrics.csv")
        for tag in tags:
            steps, values = curve(rows, tag)
            if steps:
                curves[f"{tag} {seed}"] = (steps, values)
    last = max((steps[-1] + 1 for steps, _ in curves.values()), default=0)
    window = next(w for k in range(12) for w in (10**k, 2 * 10**k, 5 * 10**k) if last <= POINTS * w)
    count = -(-last // window)
    columns: dict[str, list[Any]] = {"iteration": [min((k + 1) * window, last) for k in range(count)]}
    for name, (steps, values) in curves.items():
        parts: list[list[float]] = [[] for _ in range(count)]
        for step, value in zip(steps, values, strict=True):
            parts[step // window].append(value)
        columns[name] = [float(f"{statistics.fmean(part):.4g}") if part else "" for part in parts]
    return columns


def write_curves(path: Path, columns: dict[str, list[Any]], seeds: list[int]) -> None:
    """Write curves; those of other seeds that the file has already are kept if they have the same iterations."""
    if path.is_file():
        earlier = read_csv(path)
        if earlier.get("iteration") == [str(iteration) for iteration in columns["iteration"]]:
            columns = earlier | columns
    write_csv(path, {name: columns[name] for name in columns if name == "iteration" or int(name.split()[-1]) in seeds})
