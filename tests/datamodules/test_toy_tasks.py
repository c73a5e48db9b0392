"""The toy tasks against slow implementations written from their definitions."""

import itertools
import math
import random
from collections import Counter
from fractions import Fraction

import numpy as np
import pytest
import torch
from jsonargparse.typing import PositiveInt

from datamodules.step_stream import step_generator
from datamodules.toy_tasks import (
    BaumSweet,
    BaumSweetLength,
    BinaryPalindrome,
    CombinationLength,
    RandomCombinations,
    is_baum_sweet,
)


def palindrome(digits: tuple[int, ...], reverse: bool, n: int) -> tuple[tuple[int, ...], int]:
    """Tokens and label of one palindrome, straight from the definition."""
    string = "".join(f"{digit:b}" for digit in digits)
    if reverse:
        string = string[::-1]
    string += string[::-1]
    width = 8 * math.ceil(n / 2) + 2
    symbols = [-1] * (width - len(string)) + [int(bit) for bit in string]
    return tuple(symbol + 1 for symbol in symbols[:-1]), symbols[-1]


def exact_distribution(n: int) -> dict[tuple[tuple[int, ...], int], Fraction]:
    """Probability of every (tokens, label)."""
    outcomes: Counter = Counter()
    for digits in itertools.product(range(9), repeat=math.ceil(n / 2)):
        for reverse in (False, True):
            outcomes[palindrome(digits, reverse, n)] += 1
    total = sum(outcomes.values())
    return {outcome: Fraction(count, total) for outcome, count in outcomes.items()}


def batches(data: BinaryPalindrome, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    drawn = [data.make_batch(step_generator(data.seed, 0, step)) for step in range(count)]
    return torch.cat([tokens for tokens, _ in drawn]), torch.cat([labels for _, labels in drawn])


@pytest.mark.parametrize("n", [1, 2, 3, 4])
def test_palindromes_have_the_exact_distribution(n: int) -> None:
    """χ² over all outcomes; with this fixed seed it is either below the bound of p = 10⁻⁴ for good or broken."""
    expected = exact_distribution(n)
    tokens, labels = batches(BinaryPalindrome(n, batch_size=100_000), 2)
    seen = Counter((tuple(row), label) for row, label in zip(tokens.tolist(), labels.tolist(), strict=True))
    assert seen.keys() <= expected.keys()
    size = len(labels)
    chi2 = sum((seen[o] - size * float(p)) ** 2 / (size * float(p)) for o, p in expected.items())
    freedom = len(expected) - 1
    assert chi2 < freedom + 3.9 * math.sqrt(2 * freedom) + 10


def test_label_is_one_in_two_thirds_of_the_cases() -> None:
    for n in (2, 4):
        exact = exact_distribution(n)
        assert sum(p for (_, label), p in exact.items() if label == 1) == Fraction(2, 3)
    _, labels = batches(BinaryPalindrome(10, batch_size=100_000), 3)
    assert abs(labels.double().mean().item() - 2 / 3) < 4 * math.sqrt(2 / 9 / len(labels))


@pytest.mark.parametrize(("n", "steps"), [(10, 41), (20, 81), (9, 41), (1, 9)])
def test_palindromes_mirror_pad_and_label(n: int, steps: int) -> None:
    data = BinaryPalindrome(n, batch_size=3000)
    tokens, labels = batches(data, 1)
    assert tokens.shape == (3000, steps)
    assert data.num_steps == steps
    assert tokens.dtype == labels.dtype == torch.int64
    whole = torch.cat([tokens, labels[:, None] + 1], dim=1)
    for row in whole.tolist():
        string = row[row.count(0) :]
        assert 0 not in string, "padding stands on the left alone"
        assert string == string[::-1]
        assert len(string) % 2 == 0
        assert 2 * math.ceil(n / 2) <= len(string) <= 8 * math.ceil(n / 2)
        assert set(string) <= {1, 2}


def test_palindrome_lengths_and_symbols_match_the_definition() -> None:
    """n = 20 against a per-sample implementation: mean length and share of ones within 5 standard errors."""
    generator = random.Random(0)
    slow = [
        palindrome(tuple(generator.randrange(9) for _ in range(10)), generator.random() < 0.5, 20)
        for _ in range(20_000)
    ]
    slow_tokens = torch.tensor([tokens for tokens, _ in slow])
    fast_tokens, _ = batches(BinaryPalindrome(20, batch_size=20_000), 1)
    for statistic in (
        lambda x: (x > 0).sum(1).double(),
        lambda x: (x == 2).sum(1).double(),
        lambda x: x[:, -1].double(),
    ):
        a, b = statistic(slow_tokens), statistic(fast_tokens)
        assert abs(a.mean() - b.mean()) < 5 * math.sqrt((a.var() + b.var()) / 20_000)
        assert a.var() / b.var() == pytest.approx(1, abs=0.1)


def test_seeds_of_the_study_share_no_batch() -> None:
    drawn = [
        BinaryPalindrome(10, 16).make_batch(step_generator(seed, 0, step))[0].numpy().tobytes()
        for seed in (40, 42, 44)
        for step in range(200)
    ]
    assert len(set(drawn)) == len(drawn)


def slow_baum_sweet(x: int) -> bool:
    blocks = f"{x:b}".split("1")
    return all(len(block) % 2 == 0 for block in blocks)


def test_baum_sweet_numbers() -> None:
    numbers = np.arange(1, 20_000)
    assert is_baum_sweet(numbers).tolist() == [slow_baum_sweet(int(x)) for x in numbers]
    large = np.random.default_rng(0).integers(10, 10**18, size=2000)
    assert is_baum_sweet(large).tolist() == [slow_baum_sweet(int(x)) for x in large]


@pytest.mark.parametrize("n", [2, 3, 6, 18])
def test_baum_sweet_tokens_are_the_bits(n: int) -> None:
    data = BaumSweet(n, batch_size=500)
    tokens, labels = data.make_batch(step_generator(1, 0, 0))
    assert tokens.shape == (500, 4 * n) == (500, data.num_steps)
    for row, label in zip(tokens.tolist(), labels.tolist(), strict=True):
        string = "".join({0: "", 1: "0", 2: "1"}[symbol] for symbol in row)
        assert row[: 4 * n - len(string)] == [0] * (4 * n - len(string))
        assert string.startswith("1")
        assert 10 <= int(string, 2) <= 10**n
        assert slow_baum_sweet(int(string, 2)) == bool(label)


@pytest.mark.parametrize("n", [2, 3, 4, 5, 6])
def test_baum_sweet_share_of_ones(n: int) -> None:
    """Exactly as the definition gives it: kept always, or with probability 0.016724."""
    good = int(is_baum_sweet(np.arange(10, 10**n + 1)).sum())
    share = good / (good + BaumSweet.KEEP_OTHER * (10**n - 9 - good))
    published = {4: 0.82, 5: 0.67, 6: 0.504}.get(n, share)
    assert share == pytest.approx(published, abs=0.005)
    labels = BaumSweet(n, batch_size=40_000).make_batch(step_generator(2, 0, 0))[1].double()
    assert abs(labels.mean().item() - share) < 4.5 * math.sqrt(share * (1 - share) / 40_000)


@pytest.mark.parametrize("n", [2, 4, 6])
def test_baum_sweet_acceptance_rate(n: int) -> None:
    drawn = 1_000_000
    good = sum(slow_baum_sweet(x) for x in range(10, 10**n + 1)) / (10**n - 9)
    rate = good + 0.016724 * (1 - good)
    numbers, labels = BaumSweet(n).draw_kept(np.random.default_rng(4), drawn)
    assert abs(len(numbers) / drawn - rate) < 4.5 * math.sqrt(rate * (1 - rate) / drawn)
    assert abs(labels.sum() / drawn - good) < 4.5 * math.sqrt(good * (1 - good) / drawn)


@pytest.mark.parametrize(("batch_size", "steps"), [(200_000, 1), (3, 8000)])
def test_baum_sweet_numbers_have_the_exact_distribution(batch_size: int, steps: int) -> None:
    """n = 2, χ² over 10..100, both ends included; cutting what is kept at B adds no bias, B small or large."""
    data = BaumSweet(2, batch_size)
    tokens = torch.cat([data.make_batch(step_generator(3, 0, step))[0] for step in range(steps)])
    values = ((tokens == 2).long() * 2 ** torch.arange(7, -1, -1)).sum(1)
    weights = torch.tensor([1 if slow_baum_sweet(x) else 0.016724 for x in range(10, 101)], dtype=torch.float64)
    expected = len(values) * weights / weights.sum()
    counts = torch.bincount(values, minlength=101)
    assert counts[:10].sum() == 0
    assert len(counts) == 101
    assert ((counts[10:] - expected) ** 2 / expected).sum() < 90 + 4 * math.sqrt(2 * 90)


@pytest.mark.parametrize("n", [2, 6])
def test_random_combinations_miss_the_label(n: int) -> None:
    data = RandomCombinations(n, batch_size=6000)
    tokens, labels = data.make_batch(step_generator(1, 0, 0))
    assert tokens.shape == (6000, n - 1) == (6000, data.num_steps)
    assert (torch.cat([tokens, labels[:, None]], 1).sort(1).values == torch.arange(n)).all()
    for column in (labels, tokens[:, 0]):
        counts = torch.bincount(column, minlength=n).double()
        assert ((counts - 6000 / n) ** 2 / (6000 / n)).sum() < 25


def test_random_combinations_are_uniform_over_all_orders() -> None:
    tokens, labels = RandomCombinations(4, batch_size=24_000).make_batch(step_generator(1, 0, 0))
    orders = Counter(map(tuple, torch.cat([tokens, labels[:, None]], 1).tolist()))
    assert len(orders) == 24
    assert sum((count - 1000) ** 2 / 1000 for count in orders.values()) < 23 + 4 * math.sqrt(2 * 23)


@pytest.mark.parametrize(
    ("kind", "facts"), [(BinaryPalindrome, (3, 2, 41)), (BaumSweet, (3, 2, 24)), (RandomCombinations, (6, 6, 5))]
)
def test_facts_need_no_trainer(kind: type, facts: tuple[int, int, int]) -> None:
    data = kind()
    assert (data.vocab_size, data.num_classes, data.num_steps) == facts


@pytest.mark.parametrize(
    ("kind", "bad"), [(PositiveInt, 0), (BaumSweetLength, 19), (BaumSweetLength, 1), (CombinationLength, 1)]
)
def test_lengths_are_limited_by_their_types(kind: type, bad: int) -> None:
    with pytest.raises(ValueError, match="does not conform"):
        kind(bad)
