"""Toy tasks: classes of generated sequences, from the Deep Learning practical of the University of Amsterdam (2020).

Every batch is generated. In the two binary tasks the symbols are 0 for padding, 1 for zero and 2 for one; sequences are
padded on the left. Legend: B batch, T time, n length of the task.
"""

from abc import abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jsonargparse.typing import PositiveInt, restricted_number_type
from torch.utils.data import DataLoader

from datamodules.batches import SequenceBatch
from datamodules.errors import DataError
from datamodules.step_stream import StepStreamDataModule
from datamodules.text_lines import file_lines

PAD = -1  # symbol of the padding before 1 is added to all symbols
MAX_BITS = 4  # of a digit 0..8 in binary

if TYPE_CHECKING:
    BaumSweetLength = int
    CombinationLength = int
else:  # types that the command line checks
    BaumSweetLength = restricted_number_type("BaumSweetLength", int, [(">=", 2), ("<=", 18)], docstring="10ⁿ < 2⁶³")
    CombinationLength = restricted_number_type("CombinationLength", int, (">=", 2))


class ToyTask(StepStreamDataModule):
    """Base class: new sequences to classify come from a file with one in each line."""

    batch_type = SequenceBatch
    _lines: list[str]
    _new: torch.Tensor | None = None

    @property
    @abstractmethod
    def num_steps(self) -> int:
        """Number T of symbols of an input."""

    def read_symbols(self, line: str) -> list[int]:
        """Return the symbols of a sequence of zeros and ones, padded on the left.

        Raises:
            DataError: if it is no such sequence, or is too long; the message says what is expected.
        """
        bits = "".join(line.split())
        if not 0 < len(bits) <= self.num_steps or set(bits) - set("01"):
            raise DataError(f"expected 1 to {self.num_steps} zeros and ones")
        return [0] * (self.num_steps - len(bits)) + [int(bit) + 1 for bit in bits]

    def read_new(self, path: Path, reader: dict[str, Any]) -> None:
        """Read a file with a sequence in each line."""
        sequences = []
        lines = {number: line.strip() for number, line in enumerate(file_lines(path), 1) if line.strip()}
        for number, line in lines.items():
            try:
                sequences.append(self.read_symbols(line))
            except DataError as error:
                raise DataError(f"{path}, line {number}: {error}, got {line[:60]!r}") from None
        if not sequences:
            raise DataError(f"{path} has no sequence: it is empty, or all its lines are blank")
        self._lines, self._new = list(lines.values()), torch.tensor(sequences)

    @property
    def predictable(self) -> bool:
        """Whether there are new sequences; a toy task has no others that could be predicted."""
        return self._new is not None

    def predict_dataloader(self) -> DataLoader:
        """Return the new sequences."""
        assert self._new is not None
        parts = self._new.split(self.batch_size)
        batches = [SequenceBatch(part, torch.zeros(len(part), dtype=torch.int64)) for part in parts]
        return DataLoader(batches, batch_size=None)  # type: ignore[arg-type]  # a list is a data set

    def columns(self) -> dict[str, list[str]]:
        """Return the sequences as they were given."""
        return {"sequence": self._lines}


class BinaryPalindrome(ToyTask):
    """Predict the last bit of a palindrome; it equals the first bit after the padding.

    Draw ⌈n/2⌉ digits uniformly from 0..8; write each in binary without leading zeros and join; with probability 1/2
    reverse the string; append its mirror image. Pad on the left to 8⌈n/2⌉ + 2 symbols, all but the last of which are
    the input. P(label = 1) = 2/3: each digit but 0 starts with 1, and 1, 3, 5, 7 end with 1.

    Args:
        length: n of the task; the input has 4n + 1 symbols for even n.
        batch_size: sequences B per batch, on each process.
        seed: seed of the data; train.py passes seed_everything.
    """

    vocab_size = 3
    num_classes = 2

    def __init__(self, length: PositiveInt = 10, batch_size: PositiveInt = 256, seed: int = 42) -> None:
        super().__init__(batch_size, seed)
        self.length = length
        # Strings 0..8 are the digits in binary, strings 9..17 the same reversed.
        strings = [f"{digit:b}" for digit in range(9)]
        strings += [string[::-1] for string in strings]
        self._bits = np.array([[int(bit) for bit in string.ljust(MAX_BITS, "0")] for string in strings])  # [18, 4]
        self._sizes = np.array([len(string) for string in strings])  # [18]

    @property
    def num_steps(self) -> int:
        """Number T of symbols of an input."""
        return 2 * MAX_BITS * self._num_digits + 1

    @property
    def _num_digits(self) -> int:
        return (self.length + 1) // 2

    def make_batch(self, generator: np.random.Generator) -> SequenceBatch:
        """Draw tokens [B, T] and labels [B].

        The digits are independent, so a reversed string is distributed as reversed digit strings in drawn order.
        """
        reverse = generator.integers(2, size=(self.batch_size, 1))
        codes = generator.integers(9, size=(self.batch_size, self._num_digits)) + 9 * reverse  # [B, ⌈n/2⌉]
        sizes = self._sizes[codes]
        half = self._bits[codes][np.arange(MAX_BITS) < sizes[..., None]]  # left halves, one after the other
        half_size = sizes.sum(1, keepdims=True)  # [B, 1]
        symbols = np.full((self.batch_size, self.num_steps + 1), PAD)
        from_right = np.arange(self.num_steps, -1, -1)  # a column's distance from the last one
        symbols[(from_right >= half_size) & (from_right < 2 * half_size)] = half
        symbols[:, ::-1][from_right[::-1] < half_size] = half  # the mirror image, filled from the right
        return SequenceBatch(torch.from_numpy(symbols[:, :-1] + 1), torch.from_numpy(symbols[:, -1].copy()))


class BaumSweet(ToyTask):
    """Recognise Baum–Sweet numbers, whose binary form has no block of zeros of odd length (label 1).

    Draw x uniformly from 10..10ⁿ, both ends included. A Baum–Sweet number is kept always, any other with probability
    0.016724, which balances the classes at n = 6.

    Args:
        length: n of the task, 2 to 18 (n = 1 has one number only); the input has 4n symbols.
        batch_size: sequences B per batch, on each process.
        seed: seed of the data; train.py passes seed_everything.
    """

    vocab_size = 3
    num_classes = 2
    KEEP_OTHER = 0.016724

    def __init__(self, length: BaumSweetLength = 6, batch_size: PositiveInt = 256, seed: int = 42) -> None:
        super().__init__(batch_size, seed)
        self.length = length

    @property
    def num_steps(self) -> int:
        """Number T of symbols of an input."""
        return 4 * self.length

    def make_batch(self, generator: np.random.Generator) -> SequenceBatch:
        """Draw tokens [B, T] and labels [B].

        The first B numbers kept, in the order drawn, are independent draws from the kept ones: cutting adds no bias.
        """
        numbers, labels = np.empty(0, np.int64), np.empty(0, np.int64)
        while len(numbers) < self.batch_size:
            more, more_labels = self.draw_kept(generator, 32 * self.batch_size)
            numbers, labels = np.append(numbers, more), np.append(labels, more_labels)
        numbers, labels = numbers[: self.batch_size], labels[: self.batch_size]
        rest = numbers[:, None] >> np.arange(self.num_steps - 1, -1, -1)  # the bits up to each place
        tokens = torch.from_numpy(np.where(rest > 0, (rest & 1) + 1, 0))
        return SequenceBatch(tokens, torch.from_numpy(labels))

    def draw_kept(self, generator: np.random.Generator, size: int) -> tuple[np.ndarray, np.ndarray]:
        """Draw `size` numbers; return those kept and their labels, int64 both, at most `size` of them."""
        drawn = generator.integers(10, 10**self.length, size=size, endpoint=True)
        good = is_baum_sweet(drawn)
        kept = good | (generator.random(size) < self.KEEP_OTHER)
        return drawn[kept], good[kept].astype(np.int64)


def is_baum_sweet(numbers: np.ndarray) -> np.ndarray:
    """Return for each positive number below 2⁶³ whether no block of zeros in its binary form has odd length."""
    good, odd_block = np.ones(numbers.shape, bool), np.zeros(numbers.shape, bool)
    for place in range(int(numbers.max()).bit_length()):
        one = (numbers >> place & 1).astype(bool)
        good &= ~(one & odd_block)  # a one ends the block of zeros to its right
        odd_block = ~one & ~odd_block
    return good


class RandomCombinations(ToyTask):
    """Predict the missing number of 0..n−1 from the others in random order.

    Args:
        length: n, at least 2; the input has n − 1 symbols.
        batch_size: sequences B per batch, on each process.
        seed: seed of the data; train.py passes seed_everything.
    """

    def __init__(self, length: CombinationLength = 6, batch_size: PositiveInt = 256, seed: int = 42) -> None:
        super().__init__(batch_size, seed)
        self.length = length

    @property
    def vocab_size(self) -> int:
        """Number of symbols n."""
        return int(self.length)

    @property
    def num_classes(self) -> int:
        """Number of classes n."""
        return int(self.length)

    @property
    def num_steps(self) -> int:
        """Number T of symbols of an input."""
        return int(self.length) - 1

    def read_symbols(self, line: str) -> list[int]:
        """Return the symbols of a sequence: n − 1 different numbers below n, separated by spaces."""
        words = line.split()
        known = {str(number): number for number in range(self.length)}
        if len(words) != self.num_steps or len(set(words)) != len(words) or set(words) - known.keys():
            raise DataError(f"expected {self.num_steps} different numbers of 0..{self.length - 1}, separated by spaces")
        return [known[word] for word in words]

    def make_batch(self, generator: np.random.Generator) -> SequenceBatch:
        """Draw tokens [B, T] and labels [B]."""
        orders = generator.permuted(np.tile(np.arange(self.length), (self.batch_size, 1)), axis=1)  # [B, n]
        return SequenceBatch(torch.from_numpy(orders[:, :-1].copy()), torch.from_numpy(orders[:, -1].copy()))
