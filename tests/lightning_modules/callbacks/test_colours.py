"""Colours that a reader can distinguish without red and green."""

import itertools

import numpy as np
import pytest

from lightning_modules.callbacks.colours import COLOURS, colour, line_style, marker

# Linear RGB as seen without the red or the green cones: Machado, Oliveira & Fernandes (2009), severity 1.
SEEN = {
    "all": np.eye(3),
    "no red cones": np.array(
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]
    ),
    "no green cones": np.array(
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]
    ),
}
MATPLOTLIB = ("#1f77b4", "#ff7f0e", "#2ca02c", "#d62728", "#9467bd", "#8c564b", "#e377c2")


def least_difference(colours: tuple[str, ...], seen: np.ndarray) -> float:
    """Return ΔE (CIE 1976) of the two colours that look most alike; 2 is just seen side by side."""
    rgb = np.array([[int(each[k : k + 2], 16) / 255 for k in (1, 3, 5)] for each in colours])
    linear = np.where(rgb > 0.04045, ((rgb + 0.055) / 1.055) ** 2.4, rgb / 12.92)
    linear = (linear @ seen.T).clip(0, 1)
    to_xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
    f = np.cbrt(np.maximum(linear @ to_xyz.T / to_xyz.sum(1), 1e-4))
    lab = np.stack([116 * f[:, 1] - 16, 500 * (f[:, 0] - f[:, 1]), 200 * (f[:, 1] - f[:, 2])], 1)
    return min(float(np.linalg.norm(a - b)) for a, b in itertools.combinations(lab, 2))


@pytest.mark.parametrize("seen", SEEN.values(), ids=SEEN)
def test_no_two_colours_look_alike(seen: np.ndarray) -> None:
    assert least_difference(COLOURS, seen) > 15


def test_the_measure_finds_red_and_green_alike() -> None:
    assert least_difference(MATPLOTLIB, SEEN["no green cones"]) < 8


def test_more_classes_than_colours_differ_by_their_marks() -> None:
    assert len({(colour(number), marker(number)) for number in range(56)}) == 56
    assert len({(colour(number), line_style(number)) for number in range(28)}) == 28
