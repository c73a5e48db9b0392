"""The linear baseline of the texts."""

import sys

import pytest

from benchmarks import text_baseline
from datamodules.text_files import Text


def test_words_that_tell_the_class_are_learned(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    texts = [
        Text(split, label, [word, "and", "so", "on"])
        for split in ("train", "test") for label, word in (("a", "apple"), ("b", "berry"), ("c", "cherry"))
    ]  # fmt: skip
    texts.append(Text("test", "a", ["berry"]))
    monkeypatch.setattr(text_baseline, "read_texts", lambda *_: texts)
    monkeypatch.setattr(sys, "argv", ["text_baseline", "--names", "R8"])
    assert text_baseline.main() == 0
    assert capsys.readouterr().out == "R8: accuracy 75.00, macro-F1 77.78\n"
