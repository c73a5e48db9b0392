"""Joined palindromes: each row, read back, is a sequence of palindromes with their labels."""

import itertools

import pytest
import torch

from datamodules.batches import NO_LABEL
from datamodules.joined_palindromes import JoinedPalindromes


@pytest.mark.parametrize(("length", "T"), [(1, 5), (4, 64), (3, 1), (6, 40)])
def test_a_row_is_palindromes_one_behind_the_other(length: int, T: int) -> None:
    data = JoinedPalindromes(length, num_steps=T, batch_size=50, seed=1)
    tokens, starts, labels = data.batch_of_step(0, 0)
    assert tokens.shape == starts.shape == labels.shape == (50, T)
    assert starts[:, 0].all()
    digits = (length + 1) // 2
    for row in range(50):
        bounds = [*starts[row].nonzero().flatten().tolist(), T]
        for a, b in itertools.pairwise(bounds):
            bits, own = tokens[row, a:b], labels[row, a:b]
            assert (own[:-1] == NO_LABEL).all()
            if b < T or own[-1] != NO_LABEL:  # otherwise the row ends before the palindrome
                whole = torch.cat([bits, own[-1:]])
                assert torch.equal(whole, whole.flip(0))
                assert 2 * digits <= len(whole) <= 8 * digits
    assert data.batch_of_step(0, 0).tokens.equal(tokens)
    assert not data.batch_of_step(1, 0).tokens.equal(tokens)


def test_both_classes_and_many_sequences() -> None:
    _, starts, labels = JoinedPalindromes(4, batch_size=500).batch_of_step(0, 0)
    share = (labels == 1).sum() / (labels != NO_LABEL).sum()
    assert abs(share - 2 / 3) < 0.05  # about as in BinaryPalindrome; short ones are more often complete
    assert 5 < starts.sum(1).float().mean() < 9
