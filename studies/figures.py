"""The pictures of a results folder that show training curves: the mean over the seeds in a band of one std.

Pictures of analyses are drawn by the analyses.
"""

import csv
import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lightning_modules.callbacks.colours import LINES, colour

DRAWN_FROM = "Description"  # the field of a PNG that names the data it shows


@dataclass(frozen=True)
class Figure:
    """A picture of training curves.

    Args:
        name: its file without .png.
        part: the part of the study.
        title: its heading on the page.
        caption: what it shows.
        curves: the ids of the claims whose runs it shows, and how it calls them.
        panels: the tags in each panel by the label of its vertical axis.
    """

    name: str
    part: str
    title: str
    caption: str
    curves: Mapping[str, str]
    panels: Mapping[str, tuple[str, ...]]


ACCURACY = {"training accuracy": ("train/accuracy",)}


def _palindromes(number: int, n: int) -> Figure:
    return Figure(
        f"figure-{number}",
        "palindromes",
        f"Figure {number}",
        f"Training accuracy on binary palindromes with n = {n} ({4 * n + 1} symbols): the mean of the seeds, in a band "
        "of one standard deviation over the seeds. Each point is a mean over 10 iterations.",
        {
            f"palindromes-lstm-{n}": "LSTM",
            f"palindromes-peephole-{n}": "peephole LSTM, full matrices",
            f"palindromes-diagonal-{n}": "peephole LSTM, diagonal",
        },
        ACCURACY,
    )


FROM_RUNS = {"cora-nodes": ("cora-gat", "nodes.png")}  # pictures of runs: the claim, and the file in its first run
FIGURES = (_palindromes(1, 10), _palindromes(2, 20))


def tags_drawn(claim: str) -> tuple[str, ...]:
    """Return the tags that some figure draws of a claim's runs."""
    return tuple(
        dict.fromkeys(
            tag for figure in FIGURES if claim in figure.curves for tags in figure.panels.values() for tag in tags
        )
    )


def stored_curves(figure: Figure, folder: Path) -> dict[str, Path]:
    """Return the files of the curves that a figure shows of a results folder, by the ids of their claims."""
    return {claim: path for claim in figure.curves if (path := folder / "data" / f"{claim}.csv").is_file()}


def draw(figure: Figure, folder: Path) -> Path | None:
    """Draw a figure from the curves of a results folder, unless the picture shows these data already.

    Returns:
        The picture, None if there are no curves for it.
    """
    stored = stored_curves(figure, folder)
    if not stored:
        return None
    picture = folder / f"{figure.name}.png"
    if not is_drawn_from(picture, stored.values()):
        _draw(figure, {claim: read_curves(path) for claim, path in stored.items()}, picture, mark(stored.values()))
    return picture


def mark(paths: Iterable[Path]) -> str:
    """Return what a picture's file says about the data that it shows: their names and a part of their SHA-256."""
    names = [f"{path.name} {hashlib.sha256(path.read_bytes()).hexdigest()[:16]}" for path in paths]
    return f"drawn from {', '.join(names)}"


def is_drawn_from(picture: Path, paths: Iterable[Path]) -> bool:
    """Return whether a picture shows these files as they are now."""
    return picture.is_file() and mark(paths).encode() in picture.read_bytes()


def read_curves(path: Path) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Return the iterations of a stored curve, and for each tag its values [seeds, iterations], NaN where none is."""
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    iterations = np.array([int(row["iteration"]) for row in rows])
    values: dict[str, list[list[float]]] = {}
    for name in list(rows[0])[1:]:
        values.setdefault(name.rpartition(" ")[0], []).append([float(row[name] or "nan") for row in rows])
    return iterations, {tag: np.array(seeds) for tag, seeds in values.items()}


def _draw(figure: Figure, curves: Mapping[str, Any], path: Path, description: str) -> None:
    """Draw every claim's curves in every panel."""
    from matplotlib.figure import Figure as Canvas

    canvas = Canvas(figsize=(max(7, 5.2 * len(figure.panels)), 4.2), layout="constrained")
    panels = canvas.subplots(1, len(figure.panels), squeeze=False)[0]
    for axes, (label, tags) in zip(panels, figure.panels.items(), strict=True):
        number = 0
        for claim, (iterations, values) in curves.items():
            for tag in tags:
                if tag in values:
                    name = figure.curves[claim] + (", held out" if tag.startswith("val/") else "")
                    _band(axes, iterations, values[tag], name, (colour(number), LINES[number % len(LINES)]))
                    number += 1
        axes.set(xlabel="iteration", ylabel=label)
        axes.grid(alpha=0.3)
    lines = {line.get_label(): line for axes in panels for line in axes.get_lines()}
    canvas.legend(lines.values(), lines.keys(), frameon=False, loc="outside lower center", ncols=2)
    canvas.savefig(path, dpi=120, metadata={DRAWN_FROM: description})


def _band(axes: Any, iterations: np.ndarray, values: np.ndarray, name: str, style: tuple[str, str]) -> None:
    """Draw the mean of the seeds in a band of their sample standard deviation, where all of them have a value."""
    known = ~np.isnan(values).any(0)
    mean, seeds = values[:, known].mean(0), len(values)
    label = f"{name}, {seeds} seed{'s' * (seeds > 1)}"
    marker = "." if known.sum() < 30 else ""
    axes.plot(iterations[known], mean, style[1], marker=marker, color=style[0], linewidth=1.5, label=label)
    if seeds > 1:
        std = values[:, known].std(0, ddof=1)
        low, high = mean - std, mean + std
        if values[:, known].min() >= 0 and values[:, known].max() <= 1:  # a fraction
            low, high = low.clip(0), high.clip(max=1)
        axes.fill_between(iterations[known], low, high, color=style[0], alpha=0.2, linewidth=0)
