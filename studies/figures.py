"""The pictures that are drawn from what a results folder has stored of runs. Analyses draw their own.

The file of a picture names the data that it shows, so a picture of older data is found and drawn again.
"""

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lightning_modules.callbacks.colours import LINES, colour, marker
from lightning_modules.errors import UserError
from studies.analysis import read_csv

DRAWN_FROM = "Description"  # the field of a PNG that names the data it shows


@dataclass(frozen=True)
class Figure(ABC):
    """A picture made of stored results.

    Args:
        name: its file without .png.
        part: the part of the study.
        title: its heading on the page.
        caption: what it shows.
    """

    name: str
    part: str
    title: str
    caption: str

    @abstractmethod
    def stored(self, folder: Path) -> dict[str, Path]:
        """Return the files of a results folder that it shows, by the ids of claims; none if it cannot be drawn."""

    @abstractmethod
    def drawn(self, stored: Mapping[str, Path]) -> Any:
        """Return the picture of these files, as Matplotlib's Figure."""


@dataclass(frozen=True)
class Curves(Figure):
    """Training curves: the mean over the seeds in a band of their standard deviation.

    Args:
        curves: the ids of the claims whose runs it shows, and how it calls them.
        panels: the tags in each panel by the label of its vertical axis.
    """

    curves: Mapping[str, str]
    panels: Mapping[str, tuple[str, ...]]

    def stored(self, folder: Path) -> dict[str, Path]:
        """Return the stored curves."""
        return {claim: path for claim in self.curves if (path := folder / "data" / f"{claim}.csv").is_file()}

    def drawn(self, stored: Mapping[str, Path]) -> Any:
        """Draw every curve in the panels of its tags."""
        canvas, panels = _canvas(list(self.panels), "iteration")
        for axes, tags in zip(panels, self.panels.values(), strict=True):
            number = 0
            for claim, path in stored.items():
                iterations, values = read_curves(path)
                for tag in tags:
                    if tag in values:
                        name = self.curves[claim] + (", held out" if tag.startswith("val/") else "")
                        _band(axes, iterations, values[tag], name, number)
                        number += 1
        _legend(canvas, panels)
        return canvas


@dataclass(frozen=True)
class Lengths(Figure):
    """Numbers of finished runs against the length n of their sequences, a line for each cell.

    Args:
        lengths: the values of n.
        cells: how each cell is called, by the middle of its claims' ids: `palindromes-<cell>-<n>`.
        panels: the number in each panel by the label of its vertical axis.
    """

    lengths: tuple[int, ...]
    cells: Mapping[str, str]
    panels: Mapping[str, str]

    def stored(self, folder: Path) -> dict[str, Path]:
        """Return the results of the cells that have two lengths or more."""
        found: dict[str, Path] = {}
        for cell in self.cells:
            paths = {claim: folder / "data" / f"{claim}.json" for _, claim in self.claims(cell)}
            there = {claim: path for claim, path in paths.items() if path.is_file()}
            found |= there if len(there) > 1 else {}
        return found

    def claims(self, cell: str) -> list[tuple[int, str]]:
        """Return every length with the id of its claim."""
        return [(n, f"palindromes-{cell}-{n}") for n in self.lengths]

    def drawn(self, stored: Mapping[str, Path]) -> Any:
        """Draw the mean and standard deviation of the seeds."""
        canvas, panels = _canvas(list(self.panels), "n; a sequence has 4n + 1 symbols")
        for axes, key in zip(panels, self.panels.values(), strict=True):
            for number, (cell, name) in enumerate(self.cells.items()):
                points = []
                for n, claim in self.claims(cell):
                    runs = json.loads(stored[claim].read_text(encoding="utf-8"))["runs"] if claim in stored else []
                    values = [run["summary"][key] for run in runs if run["summary"].get(key) is not None]
                    if values and len(values) == len(runs):  # a mean over the runs that solved the task would flatter
                        points.append((n, np.mean(values), np.std(values, ddof=1) if len(values) > 1 else np.nan))
                if points:
                    x, y, std = zip(*points, strict=True)
                    style = {"color": colour(number), "marker": marker(number), "linestyle": LINES[number % len(LINES)]}
                    axes.errorbar(x, y, std, capsize=3, label=name, **style)
            axes.set_xticks(sorted({int(claim.rpartition("-")[2]) for claim in stored}))
        _legend(canvas, panels)
        return canvas


def _palindromes(number: int, n: int) -> Curves:
    return Curves(
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
        {"training accuracy": ("train/accuracy",)},
    )


FROM_RUNS = {"cora-nodes": ("cora-gat", "nodes.png")}  # pictures of runs: the claim, and the file in its first run
FIGURES: tuple[Figure, ...] = (
    _palindromes(1, 10),
    _palindromes(2, 20),
    Lengths(
        "palindrome-lengths",
        "palindromes",
        "Accuracy and iterations against n",
        "Left: training accuracy over the last 1000 of 3000 iterations. Right: the iteration at which the mean "
        "accuracy over 50 iterations first reaches 99.9 %, where all seeds reach it. Mean and standard deviation of "
        "the seeds.",
        (5, 10, 20, 40),
        {
            "lstm": "LSTM",
            "peephole": "peephole LSTM, full matrices",
            "diagonal": "peephole LSTM, diagonal",
            "gru": "GRU",
            "rnn": "RNN",
        },
        {"training accuracy": "accuracy", "iterations to 99.9 %": "reached"},
    ),
)


def tags_drawn(claim: str) -> tuple[str, ...]:
    """Return the tags that some figure draws of a claim's runs."""
    panels = [figure.panels for figure in FIGURES if isinstance(figure, Curves) and claim in figure.curves]
    return tuple(dict.fromkeys(tag for each in panels for tags in each.values() for tag in tags))


def draw(figure: Figure, folder: Path) -> Path | None:
    """Draw a figure of a results folder, unless the picture shows what is stored now.

    Returns:
        The picture, None if nothing is stored for it.
    """
    stored = figure.stored(folder)
    if not stored:
        return None
    picture = folder / f"{figure.name}.png"
    if not is_drawn_from(picture, stored.values()):
        figure.drawn(stored).savefig(picture, dpi=120, metadata={DRAWN_FROM: mark(stored.values())})
    return picture


def mark(paths: Iterable[Path]) -> str:
    """Return what a picture's file says about the data that it shows: their names and a part of their SHA-256."""
    names = [f"{path.name} {hashlib.sha256(path.read_bytes()).hexdigest()[:16]}" for path in paths]
    return f"drawn from {', '.join(names)}"


def is_drawn_from(picture: Path, paths: Iterable[Path]) -> bool:
    """Return whether a picture shows these files as they are now."""
    return picture.is_file() and mark(paths).encode() in picture.read_bytes()


def read_curves(path: Path) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Return the iterations of a stored curve, and for each tag its values [seeds, iterations], NaN where none is.

    Raises:
        UserError: if the file is damaged.
    """
    columns = read_csv(path)
    values: dict[str, list[list[float]]] = {}
    try:
        iterations = np.array([int(cell) for cell in columns.pop("iteration")])
        for name, cells in columns.items():
            values.setdefault(name.rpartition(" ")[0], []).append([float(cell or "nan") for cell in cells])
    except (KeyError, ValueError) as error:
        raise UserError(f"{path} is damaged ({error}); remove it and run the study again") from error
    return iterations, {tag: np.array(seeds) for tag, seeds in values.items()}


def _canvas(labels: list[str], xlabel: str) -> tuple[Any, Any]:
    """Return an empty picture and its panels, side by side."""
    from matplotlib.figure import Figure as Canvas

    canvas = Canvas(figsize=(max(7, 5.2 * len(labels)), 4.2), layout="constrained")
    panels = canvas.subplots(1, len(labels), squeeze=False)[0]
    for axes, label in zip(panels, labels, strict=True):
        axes.set(xlabel=xlabel, ylabel=label)
        axes.grid(alpha=0.3)
    return canvas, panels


def _legend(canvas: Any, panels: Any) -> None:
    """Put one legend for all panels below them."""
    shown: dict[str, Any] = {}
    for axes in panels:
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            shown.setdefault(label, handle)
    canvas.legend(shown.values(), shown.keys(), frameon=False, loc="outside lower center", ncols=2)


def _band(axes: Any, iterations: np.ndarray, values: np.ndarray, name: str, number: int) -> None:
    """Draw the mean of the seeds in a band of their sample standard deviation, where all of them have a value."""
    known = ~np.isnan(values).any(0)
    mean, seeds = values[:, known].mean(0), len(values)
    label = f"{name}, {seeds} seed{'s' * (seeds > 1)}"
    line, dots = LINES[number % len(LINES)], "." if known.sum() < 30 else ""
    axes.plot(iterations[known], mean, line, marker=dots, color=colour(number), linewidth=1.5, label=label)
    if seeds > 1:
        std = values[:, known].std(0, ddof=1)
        low, high = mean - std, mean + std
        if values[:, known].min() >= 0 and values[:, known].max() <= 1:  # a fraction
            low, high = low.clip(0), high.clip(max=1)
        axes.fill_between(iterations[known], low, high, color=colour(number), alpha=0.2, linewidth=0)
