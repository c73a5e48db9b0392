"""Differences between text classifiers, paired over the seeds, with a confidence interval."""

import json
from pathlib import Path

import pytest

from datamodules.text_files import Text
from studies import text_differences
from studies.text_differences import interval
from tests.studies.small_text_runs import text_run


def test_the_interval_is_students() -> None:
    """t(0.975) is 4.303 with 2 degrees of freedom."""
    mean, low, high = interval([1.0, 2.0, 3.0])
    assert mean == 2
    assert (low, high) == (pytest.approx(2 - 4.3027 / 3**0.5, abs=1e-3), pytest.approx(2 + 4.3027 / 3**0.5, abs=1e-3))
    assert interval([0.5]) == (0.5, None, None)


def test_pairs_are_of_one_seed(own_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A seed that only one of the two has is left out; the linear SVM has none."""
    accuracy = {"hybrid": {0: 0.9, 1: 0.8, 2: 0.4}, "BiLSTM": {0: 0.7, 1: 0.7}}
    runs = [text_run(own_folder / f"{name}{s}", name, s, x) for name, own in accuracy.items() for s, x in own.items()]
    texts = [Text(split, word, [word, "other"]) for split in ("train", "test") for word in ("apple", "berry")]
    monkeypatch.setattr(text_differences, "read_texts", lambda *_: texts)
    assert text_differences.main(["--out", "made", "--runs", *map(str, runs)]) == 0
    numbers = json.loads(Path("made/summary.json").read_text())
    assert numbers["R8/graph/accuracy"] == pytest.approx(0.15)
    assert numbers["R8/graph/seeds"] == 2
    assert numbers["R8/svm/accuracy"] == pytest.approx(0.7 - 1)
    assert numbers["R8/svm/seeds"] == 3
    table = Path("made/text_differences.md").read_text()
    assert "| hybrid − BiLSTM | +15.00 [-48.53, +78.53], 2 seeds |" in table
    assert "transductive" not in table


def test_one_seed_is_singular() -> None:
    assert text_differences.table({"R8/graph/accuracy": 0.01, "R8/graph/seeds": 1}, ["R8"]).endswith(
        "| +1.00, 1 seed |"
    )
