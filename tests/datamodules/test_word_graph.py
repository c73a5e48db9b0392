"""The graph of words: windows counted one by one, pointwise mutual information, neighbours."""

import math

import numpy as np
import pytest

from datamodules import word_graph as module
from datamodules.word_graph import count_pairs, word_graph


def random_texts(seed: int = 0) -> list[np.ndarray]:
    """Return texts of different lengths, one empty; a word is often followed by the next one."""
    generator = np.random.default_rng(seed)
    texts = [np.arange(length) * generator.integers(1, 3) % 12 for length in (30, 3, 1, 0, 17, 50)]
    return [np.where(generator.random(len(text)) < 0.3, generator.integers(0, 12, len(text)), text) for text in texts]


def windows_of(texts: list[np.ndarray], window: int) -> list[set[int]]:
    """Return the words of every window."""
    found = []
    for text in texts:
        for start in range(max(1, len(text) - window + 1)) if len(text) else ():
            found.append(set(text[start : start + window].tolist()))
    return found


@pytest.mark.parametrize("window", [1, 4, 20])
@pytest.mark.parametrize("at_once", [3, 20_000])
def test_pairs_are_counted_once_a_window(window: int, at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "AT_ONCE", at_once)
    texts = random_texts()
    counts, total = count_pairs(texts, 15, window)
    windows = windows_of(texts, window)
    assert total == len(windows)
    expected = [[sum({i, j} <= words for words in windows) for j in range(15)] for i in range(15)]
    assert counts.toarray().tolist() == expected


def test_edges_are_pairs_that_are_nearer_than_by_chance() -> None:
    texts = random_texts()
    edges, weights = word_graph(texts, 15, window=4, neighbours=15)
    windows = windows_of(texts, 4)
    expected = {}
    for i in range(15):
        for j in range(15):
            both = sum({i, j} <= words for words in windows)
            each = sum(i in words for words in windows) * sum(j in words for words in windows)
            if i != j and both and (pmi := math.log(both * len(windows) / each)) > 0:
                expected[i, j] = pmi
    found = dict(zip(map(tuple, edges.T.tolist()), weights.tolist(), strict=True))
    assert found == pytest.approx(expected)
    assert len(found) > 20


def test_the_nearest_neighbours_are_kept_in_both_directions() -> None:
    texts = random_texts()
    every, weights = (part.tolist() for part in word_graph(texts, 15, 4, 15))
    pmi = dict(zip(zip(*every, strict=True), weights, strict=True))
    edges, _ = word_graph(texts, 15, 4, neighbours=2)
    found = set(map(tuple, edges.T.tolist()))
    assert found == {(j, i) for i, j in found}
    for word in range(12):
        own = sorted((pmi[i, j] for i, j in pmi if i == word), reverse=True)
        bound = own[min(2, len(own)) - 1]
        assert {j for i, j in pmi if i == word and pmi[i, j] > bound} <= {j for i, j in found if i == word}
    assert len(found) <= 2 * 2 * 12
    assert word_graph(texts, 15, 4, neighbours=0)[0].shape == (2, 0)


def test_without_words_there_are_no_edges() -> None:
    edges, weights = word_graph([np.array([], np.int64)], 5, 20, 30)
    assert edges.shape == (2, 0)
    assert weights.shape == (0,)
