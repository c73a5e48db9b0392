"""The closed form of a vanilla RNN's gradients equals autograd; one term of its sum does not."""

import json
import sys
from pathlib import Path

import pytest

from studies.closed_form_gradients import compare, main


def test_the_closed_form_is_the_gradient_and_its_last_term_is_not() -> None:
    errors, truncated = compare(length=3, hidden_size=12, sequences=3)
    assert set(errors) == {"W_ph", "W_hh", "W_hx", "b_h"}
    assert max(error for row in errors.values() for error in row.values()) < 1e-13
    assert len(truncated) == 17  # an input of 8⌈3/2⌉ + 1 symbols
    assert truncated[0] > 0.3
    assert truncated[-1] < 1e-13


def test_its_files(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["x", "--out", "made", "--length", "2", "--hidden-size", "4", "--sequences", "1"])
    assert main() == 0
    summary = json.loads(Path("made/summary.json").read_text())
    assert summary["closed_form_error"] < 1e-12 < summary["one_term_error"]
    assert (
        (Path("made/closed_form_gradients.md")).read_text().startswith("| gradient | closed form | hand-written loop |")
    )
    assert len(Path("made/closed_form_gradients.csv").read_text().splitlines()) == 1 + 9
    assert Path("made/closed_form_gradients.png").read_bytes().startswith(b"\x89PNG")
