"""Accuracy against the fraction of labels."""

import json
import math
from pathlib import Path

import pytest

from datamodules import labelled_texts
from datamodules.text_files import Text
from studies import text_labels
from studies.text_runs import Row
from tests.studies.small_text_runs import text_run


def test_its_table_and_picture(own_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The linear SVM gets the labels of each seed: with few of them it cannot know the other class."""
    words = {"a": ["apple", "and"], "b": ["berry", "and"]}
    texts = [Text("train", label, words[label]) for label in "ab" * 20] + [Text("test", x, words[x]) for x in "ab"]
    monkeypatch.setattr(labelled_texts, "read_texts", lambda *_: texts)
    runs = [
        text_run(own_folder / f"{labels}{seed}", "hybrid", seed, 0.5 + labels / 2, label_fraction=labels)
        for labels in (0.25, 1.0) for seed in (0, 1)
    ]  # fmt: skip
    assert text_labels.main(["--out", "made", "--runs", *map(str, runs)]) == 0
    numbers = json.loads(Path("made/summary.json").read_text())
    assert numbers["R8/hybrid/25/accuracy"] == pytest.approx(0.625)
    assert numbers["R8/SVM/100/accuracy"] == 1
    assert numbers["R8/hybrid-svm/accuracy"] == pytest.approx(0.625 - numbers["R8/SVM/25/accuracy"])
    table = Path("made/text_labels.md").read_text()
    assert "| R8 | hybrid | 62.50 ± 0.00 (2) | 100.00 ± 0.00 (2) |" in table
    assert Path("made/text_labels.png").stat().st_size > 0


def test_one_seed_has_no_error_bar() -> None:
    axes = text_labels.draw({Row("R8", "hybrid", 0.25): {0: 0.5}, Row("R8", "hybrid", 1.0): {0: 0.5, 1: 1.0}}).axes[0]
    heights = [
        segment[1, 1] - segment[0, 1] for segment in axes.containers[0].lines[2][0].get_segments() if len(segment)
    ]
    assert [height for height in heights if not math.isnan(height)] == [pytest.approx(2 * 100 * 0.5 / 2**0.5)]


def test_the_machine_is_fitted_once_with_all_labels(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = [Text(split, label, [f"word{label}"]) for split in ("train", "test") for label in "ab" * 10]
    monkeypatch.setattr(labelled_texts, "read_texts", lambda *_: texts)
    fits = []
    monkeypatch.setattr(text_labels, "linear_svm", lambda train, _: fits.append(len(train)) or {"accuracy": 0.5})
    found = {Row("R8", "hybrid", labels): dict.fromkeys(range(3), 0.5) for labels in (0.5, 1.0)}
    made = text_labels.svm_accuracies(found)
    assert fits == [10, 10, 10, 20]
    assert made[Row("R8", "SVM", 1.0)] == {0: 0.5}
