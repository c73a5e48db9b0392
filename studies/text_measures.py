"""How repetitive and how readable texts are, as numbers.

A word is a run of letters, with apostrophes and hyphens inside; case does not count.
"""

import re
import statistics
from collections.abc import Sequence

WORD = re.compile(r"[^\W\d_]+(?:['’-][^\W\d_]+)*")


def words(text: str) -> list[str]:
    """Return the words of a text, in lower case."""
    return WORD.findall(text.lower())


def n_grams(text: str, n: int) -> list[tuple[str, ...]]:
    """Return the sequences of n words that follow each other in a text."""
    listed = words(text)
    return list(zip(*(listed[k:] for k in range(n)), strict=False))


def repetition(texts: Sequence[str], n: int = 4) -> float:
    """Return the share of n-grams that occurred in the same text before, averaged over the texts.

    repetition-n = 1 − |distinct n-grams| / |n-grams|, seq-rep-n of Welleck et al. 2020 (Neural text generation with
    unlikelihood training). It grows with the length of the texts. A text of fewer than n words repeats nothing.
    """
    shares = []
    for text in texts:
        grams = n_grams(text, n)
        shares.append(1 - len(set(grams)) / len(grams) if grams else 0.0)
    return statistics.mean(shares)


def distinct(texts: Sequence[str], n: int) -> float:
    """Return the number of different n-grams of all texts together, divided by the number of n-grams; 0 without any.

    distinct-n of Li et al. 2016 (A diversity-promoting objective function for neural conversation models). It falls
    with the number and length of the texts, so only equally many texts of one length can be compared.
    """
    grams = [gram for text in texts for gram in n_grams(text, n)]
    return len(set(grams)) / len(grams) if grams else 0.0


def known_words(texts: Sequence[str], source: str) -> float:
    """Return the share of the words of all texts that are words of a source; 0 without any.

    A character model can write words that do not exist. The first and the last word of a text may be cut, so they are
    left out.
    """
    known = set(words(source))
    written = [word for text in texts for word in words(text)[1:-1]]
    return sum(word in known for word in written) / len(written) if written else 0.0
