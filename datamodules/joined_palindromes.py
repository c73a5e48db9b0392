"""A memory task: a row holds several sequences, and a recurrent layer has to start anew where each begins.

Legend: B batch, T time, K sequences.
"""

import numpy as np
import torch
from jsonargparse.typing import PositiveInt

from datamodules.batches import NO_LABEL, JoinedSequenceBatch
from datamodules.step_stream import StepStreamDataModule
from datamodules.toy_tasks import BinaryPalindrome


class JoinedPalindromes(StepStreamDataModule):
    """Predict the last bit of each of several binary palindromes that stand one behind the other in a row.

    The palindromes are those of `BinaryPalindrome`, without padding and without their last bit, which is the label; it
    is asked for at the bit before. A row is cut at T symbols, so its last palindrome may have no label. Symbols are the
    bits 0 and 1; where a palindrome begins is not among them, only in `JoinedSequenceBatch.starts`.

    Args:
        length: n of each palindrome; it has 2⌈n/2⌉ to 8⌈n/2⌉ bits.
        num_steps: number T of symbols of a row.
        batch_size: rows B per batch, on each process.
        seed: seed of the data; train.py passes seed_everything.
    """

    vocab_size = 2
    num_classes = 2
    batch_type = JoinedSequenceBatch

    def __init__(
        self, length: PositiveInt = 4, num_steps: PositiveInt = 64, batch_size: PositiveInt = 64, seed: int = 42
    ) -> None:
        super().__init__(batch_size, seed)
        self.length = length
        self.num_steps = num_steps

    def make_batch(self, generator: np.random.Generator) -> JoinedSequenceBatch:
        """Draw tokens, starts and labels [B, T]."""
        B, T = self.batch_size, self.num_steps
        shortest = 2 * ((self.length + 1) // 2) - 1  # symbols of a palindrome without its last bit
        K = -(-T // shortest)  # so many fill a row
        padded, classes = BinaryPalindrome(self.length, batch_size=B * K).make_batch(generator)
        symbols = padded[padded > 0] - 1  # of all palindromes, row after row
        sizes = (padded > 0).sum(1).view(B, K)
        ends = sizes.cumsum(1)  # step after the last one of each palindrome [B, K]
        first = ends[:, -1].cumsum(0) - ends[:, -1]  # place of each row in `symbols` [B]
        tokens = symbols[first[:, None] + torch.arange(T)]
        starts, labels = torch.zeros(B, T, dtype=torch.bool), torch.full((B, T), NO_LABEL)
        row, which = torch.nonzero(ends - sizes < T, as_tuple=True)  # palindromes that begin in the row
        starts[row, (ends - sizes)[row, which]] = True
        row, which = torch.nonzero(ends <= T, as_tuple=True)  # palindromes that end in it
        labels[row, ends[row, which] - 1] = classes.view(B, K)[row, which]
        return JoinedSequenceBatch(tokens, starts, labels)
