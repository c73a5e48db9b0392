"""The linear baseline of the texts."""

import json
from pathlib import Path

import pytest

from datamodules.text_files import Text
from studies import text_baseline


def test_words_that_tell_the_class_are_learned(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = [
        Text(split, label, [word, "and", "so", "on"])
        for split in ("train", "test") for label, word in (("a", "apple"), ("b", "berry"), ("c", "cherry"))
    ]  # fmt: skip
    texts.append(Text("test", "a", ["berry"]))
    monkeypatch.setattr(text_baseline, "read_texts", lambda *_: texts)
    assert text_baseline.main(["--names", "R8", "--out", "made"]) == 0
    numbers = json.loads(Path("made/summary.json").read_text())
    assert numbers["R8/words/accuracy"] == 0.75
    assert numbers["R8/words/macro_f1"] == pytest.approx(7 / 9)


def test_pairs_of_words_tell_what_words_do_not() -> None:
    pair = {"no": ["not", "good", "but", "bad"], "yes": ["good", "but", "not", "bad"]}
    train = [Text("train", label, words) for label, words in pair.items()] * 3
    found = [text_baseline.linear_svm(train, train[:2], kind)["accuracy"] for kind in ("words", "bigrams")]
    assert found == [0.5, 1.0]


def test_short_words_and_punctuation_count() -> None:
    """The networks read them, too."""
    texts = [Text("train", label, ["fine", mark, "X"]) for label, mark in (("doubt", "?"), ("joy", "!"), ("one", "1"))]
    assert text_baseline.linear_svm(texts, texts)["accuracy"] == 1


def test_absent_data_are_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.delenv("RESEARCH_DATA_DIR", raising=False)
    assert text_baseline.main(["--names", "MR", "--out", "made"]) == 2
    assert capsys.readouterr().err.startswith("studies.text_baseline: error: MR is not in data/TextGCN; add ")
