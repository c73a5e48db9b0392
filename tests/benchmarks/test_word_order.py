"""The words of a text in another order: the same words, within the text."""

import torch

from benchmarks.word_order import shuffled
from datamodules.batches import LabelledTextBatch


def test_words_move_within_their_text() -> None:
    words = torch.arange(1, 41).view(2, 20)
    words[1, 5:] = 0
    nothing = torch.zeros(0)
    batch = LabelledTextBatch(words, torch.tensor([20, 5]), nothing, nothing, nothing)
    moved = shuffled(batch, torch.Generator().manual_seed(0))
    assert torch.equal(moved.words.sort(1).values, words.sort(1).values)
    assert moved.words[1, 5:].tolist() == [0] * 15
    assert not torch.equal(moved.words, words)
    assert batch.words[0].tolist() == list(range(1, 21))
