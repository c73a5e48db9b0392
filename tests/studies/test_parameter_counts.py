"""The formulas of the numbers of parameters equal the counts."""

import json
import sys
from pathlib import Path

import pytest
from torch import nn

from studies.parameter_counts import TITLES, by_counting, by_formula, main


def test_formulas_and_counts_are_equal() -> None:
    assert by_formula(5, 7) == by_counting(5, 7)
    assert by_counting(5, 7)["lstm"] == sum(weight.numel() for weight in nn.LSTM(5, 7).parameters())
    assert by_counting(5, 7).keys() == TITLES.keys()


def test_its_files(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["x", "--out", "made"])
    assert main() == 0
    assert json.loads(Path("made/summary.json").read_text())["differences"] == 0
    assert "| LSTM, one bias per gate | 328,704 | 328,704 |" in Path("made/parameter_counts.md").read_text()
