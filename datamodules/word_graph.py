"""The graph of a vocabulary: edges between words that appear near each other more often than by chance.

    PMI(i, j) = log p(i, j) / (p(i) p(j)),   p(i, j) the fraction of windows with both words, p(i) with one

As in TextGCN (Yao, Mao & Luo 2019, arXiv:1809.05679), windows slide over the texts by one word, a shorter text is one
window, and pairs with PMI ≤ 0 have no edge. Legend: V vocabulary, E edges.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from scipy.sparse import coo_array, csr_array
from torch import Tensor

AT_ONCE = 20_000  # windows whose pairs are counted in one product


def word_graph(texts: Sequence[np.ndarray], V: int, window: int, neighbours: int) -> tuple[Tensor, Tensor]:
    """Return edges in both directions [2, E] and their PMI [E].

    Args:
        texts: the numbers of the words of each text.
        V: number of words.
        window: number of words in a window.
        neighbours: number of edges that each word chooses at most, those with the highest PMI. A word also has the
            edges that others choose to it.
    """
    counts, total = count_pairs(texts, V, window)
    first, second = counts.row, counts.col
    single = np.ones(V)
    single[first[first == second]] = counts.data[first == second]
    pmi = np.log(counts.data * total / (single[first] * single[second]))
    kept = (pmi > 0) & (first != second)
    first, second, pmi = first[kept], second[kept], pmi[kept]
    order = np.lexsort((second, -pmi, first))  # by word, and for each word by descending PMI
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order)) - np.searchsorted(first[order], first[order])
    nearest = rank < neighbours
    chosen = coo_array((pmi[nearest], (first[nearest], second[nearest])), shape=(V, V)).tocsr()
    both = chosen.maximum(chosen.T).tocoo()
    edges = torch.from_numpy(np.stack([both.row, both.col])).long()
    return edges, torch.from_numpy(both.data).float()


def count_pairs(texts: Sequence[np.ndarray], V: int, window: int) -> tuple[coo_array, int]:
    """Return the number of windows with both words of each pair [V, V], and the number of all windows."""
    counts, total = csr_array((V, V)), 0
    for windows in _windows(texts, window):
        rows = np.repeat(np.arange(len(windows)), [len(words) for words in windows])
        holds = csr_array((np.ones(len(rows)), (rows, np.concatenate(windows))), shape=(len(windows), V))
        holds.sum_duplicates()
        holds.data[:] = 1.0
        counts, total = counts + holds.T @ holds, total + len(windows)
    return counts.tocoo(), total


def _windows(texts: Sequence[np.ndarray], window: int) -> Iterator[list[np.ndarray]]:
    """Yield the windows of all texts, at most `AT_ONCE` at a time."""
    found: list[np.ndarray] = []
    for text in texts:
        if len(text):
            found += list(np.lib.stride_tricks.sliding_window_view(text, min(window, len(text))))
        while len(found) >= AT_ONCE:
            yield found[:AT_ONCE]
            found = found[AT_ONCE:]
    if found:
        yield found
