"""The best rules that see the last k symbols, against the definition of each task."""

import json
import sys
from collections import Counter
from itertools import product
from pathlib import Path

import numpy as np
import pytest

from datamodules.step_stream import step_generator
from datamodules.toy_tasks import BaumSweet, BinaryPalindrome
from studies.toy_task_rules import baum_sweet_accuracies, combination_accuracy, main, palindrome_accuracies


def best_rule(inputs: list[tuple[str, int, float]], symbols: int) -> float:
    """Return the accuracy of the best rule from every input with its class and probability."""
    shares: Counter[tuple[str, int]] = Counter()
    for text, answer, share in inputs:
        shares[text[len(text) - symbols :], answer] += share  # type: ignore[assignment]
    return sum(max(shares[seen, answer] for answer in (0, 1)) for seen in {seen for seen, _ in shares})


def test_palindromes_by_their_definition() -> None:
    inputs = []
    for digits in product(range(9), repeat=2):
        drawn = "".join(f"{digit:b}" for digit in digits)
        for half in (drawn, drawn[::-1]):
            whole = (half + half[::-1]).rjust(18)
            inputs.append((whole[:-1], int(whole[-1]), 1 / 162))
    accuracies = palindrome_accuracies(3, 17)
    assert accuracies == pytest.approx([best_rule(inputs, symbols) for symbols in range(18)])
    assert accuracies[0] == pytest.approx(2 / 3)
    assert accuracies[17] == pytest.approx(1)


def test_the_plateau_is_the_share_of_label_1() -> None:
    batch = BinaryPalindrome(10, 20000).make_batch(step_generator(1, 0, 0))
    assert float(batch.labels.double().mean()) == pytest.approx(palindrome_accuracies(10, 0)[0], abs=0.02)


def test_baum_sweet_by_its_definition() -> None:
    inputs = []
    for number in range(10, 1001):
        good = all(len(block) % 2 == 0 for block in f"{number:b}".split("1"))
        inputs.append((f"{number:b}".rjust(12), int(good), 1 if good else BaumSweet.KEEP_OTHER))
    total = sum(share for *_, share in inputs)
    expected = [best_rule(inputs, symbols) / total for symbols in range(13)]
    assert baum_sweet_accuracies(3, 12) == pytest.approx(expected)
    assert expected[12] == pytest.approx(1)


def test_combinations() -> None:
    assert [combination_accuracy(6, k) for k in (0, 4, 5, 9)] == [1 / 6, 1 / 2, 1, 1]


def test_its_files(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("studies.toy_task_rules.TOY_LENGTH", 3)
    monkeypatch.setattr(sys, "argv", ["x", "--out", "made", "--lengths", "3", "--symbols", "4"])
    assert main() == 0
    summary = json.loads(Path("made/summary.json").read_text())
    assert summary["accuracy_palindrome_3_0"] == pytest.approx(2 / 3)
    assert "| palindromes, n = 3 | 66.67 |" in Path("made/toy_task_rules.md").read_text()
    assert np.loadtxt("made/toy_task_rules.csv", delimiter=",", skiprows=1).shape == (5, 4)
    assert Path("made/toy_task_rules.png").read_bytes().startswith(b"\x89PNG")
