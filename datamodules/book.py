"""A book as training text, character by character: random windows, or streams whose recurrent state is carried on.

Legend: B batch, T time, V vocabulary, N characters.
"""

import functools
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from jsonargparse.typing import ClosedUnitInterval, PositiveInt
from pytorch_lightning.utilities.exceptions import MisconfigurationException
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset

from datamodules.batches import TextBatch
from datamodules.errors import DataError
from datamodules.fingerprint import fingerprint
from datamodules.gutenberg import strip_licence
from datamodules.step_stream import StepStreamDataModule, step_generator
from datamodules.text_source import find_book, offline_text, read_text

CHUNK = 1000  # characters of held-out text in one batch


class Book(StepStreamDataModule):
    """The characters of one text, split by position into training, validation and test.

    Args:
        path: any UTF-8 text file.
        book: a named book, if no path is given: democracy or grimm. Without both the text is Python's own help topics,
            which serve for smoke tests only.
        download: whether to fetch the named book if no data folder has it.
        keep_licence: whether to keep Project Gutenberg's header and licence.
        val_fraction: fraction of the text that validates; it follows the training part.
        test_fraction: fraction of the text that tests; it is the end.
        feed: "windows" draws T characters at random places, each with a new state; "streams" reads B contiguous parts
            of the text, whose state is carried from step to step.
        length: characters T of a window, or of a stream's step.
        batch_size: windows or streams B, on each process.
        seed: seed of the data; train.py passes seed_everything.

    Raises:
        DataError: if there is no such text, or it is too short.
    """

    batch_type = TextBatch

    def __init__(
        self,
        path: str | None = None,
        book: str | None = None,
        download: bool = False,
        keep_licence: bool = False,
        val_fraction: ClosedUnitInterval = 0.05,
        test_fraction: ClosedUnitInterval = 0.05,
        feed: Literal["windows", "streams"] = "windows",
        length: PositiveInt = 30,
        batch_size: PositiveInt = 64,
        seed: int = 42,
    ) -> None:
        super().__init__(batch_size, seed)
        if val_fraction + test_fraction >= 1:
            raise DataError(
                f"validation and test take {val_fraction + test_fraction:g} of the text; nothing is left for training"
            )
        self.path, self.book, self.download, self.keep_licence = path, book, download, keep_licence
        self.val_fraction, self.test_fraction = val_fraction, test_fraction
        self.feed, self.length = feed, length
        self._check_length(batch_size)

    def train_dataloader(self) -> DataLoader:
        """Return the batches of this process.

        Raises:
            MisconfigurationException: if the text is too short for the streams of all processes.
        """
        try:
            self._check_length(self.batch_size * self._ranks)
        except DataError as error:
            raise MisconfigurationException(str(error)) from error
        return super().train_dataloader()

    def _check_length(self, streams: int) -> None:
        N, T = len(self._splits["train"]), self.length
        if (T + 1 if self.feed == "windows" else streams * (T + 1)) > N:
            name = f"a window of {T}" if self.feed == "windows" else f"{streams} streams of {T}"
            raise DataError(f"the training text has {N} characters, too few for {name}")

    @functools.cached_property
    def text(self) -> str:
        """The whole text."""
        if self.path is None and self.book is None:
            print("no --data.path and no --data.book: Python's help topics, a text for smoke tests only", flush=True)
            return offline_text()
        path = Path(self.path) if self.path is not None else find_book(str(self.book), self.download)
        text = read_text(path)
        return text if self.keep_licence else strip_licence(text, str(path))

    @functools.cached_property
    def vocabulary(self) -> str:
        """The characters of the text in order of their code points; a token is an index into it."""
        return "".join(sorted(set(self.text)))

    @property
    def vocab_size(self) -> int:
        """Number V of characters."""
        return len(self.vocabulary)

    @functools.cached_property
    def _places(self) -> dict[str, slice]:
        """The part of the text that each split has."""
        N = len(self.text)
        first, second = round(N * (1 - self.val_fraction - self.test_fraction)), round(N * (1 - self.test_fraction))
        return {"train": slice(first), "val": slice(first, second), "test": slice(second, N)}

    @functools.cached_property
    def _splits(self) -> dict[str, Tensor]:
        """Tokens int64 of each split."""
        points = np.frombuffer(self.text.encode("utf-32-le"), dtype=np.uint32)
        alphabet = np.frombuffer(self.vocabulary.encode("utf-32-le"), dtype=np.uint32)
        tokens = torch.from_numpy(np.searchsorted(alphabet, points).astype(np.int64))
        return {split: tokens[places] for split, places in self._places.items()}

    def part(self, split: str) -> str:
        """Return the text of "train", "val" or "test"."""
        return self.text[self._places[split]]

    @property
    def split(self) -> dict[str, Any]:
        """The text and its fractions."""
        name = self.path or self.book or "Python's help topics"
        return {
            "name": name,
            "content": fingerprint([self.text]),
            "val_fraction": self.val_fraction,
            "test_fraction": self.test_fraction,
        }

    def make_batch(self, generator: np.random.Generator) -> TextBatch:
        """Draw random windows."""
        text, T = self._splits["train"], self.length
        starts = torch.from_numpy(generator.integers(0, len(text) - T, self.batch_size))
        windows = text.unfold(0, T + 1, 1)[starts]  # [B, T + 1]
        return TextBatch(windows[:, :-1].contiguous(), windows[:, 1:].contiguous(), reset_state=True)

    def batch_of_step(self, step: int, rank: int) -> TextBatch:
        """Return the batch of a step: windows at random places, or the next T characters of every stream.

        The streams of all processes together are the training text without a remainder at its end. When they end,
        they start again, each time shifted by a random number of characters, so that steps break at other places.
        """
        if self.feed == "windows":
            return super().batch_of_step(step, rank)
        text, T = self._splits["train"], self.length
        ranks = self._ranks
        size = len(text) // (self.batch_size * ranks)  # characters of one stream
        steps = max(1, (size - 1) // T - 1)  # of a pass; a step's characters are left for the shift
        turn, place = divmod(step, steps)
        shift = int(step_generator(self.seed, 0, turn).integers(0, min(T, size - 1 - steps * T) + 1))
        streams = text[: size * self.batch_size * ranks].view(ranks, self.batch_size, size)[rank]
        start = shift + place * T
        tokens, targets = streams[:, start : start + T], streams[:, start + 1 : start + T + 1]
        # Contiguous, because pinned memory of a view would span the whole text.
        return TextBatch(tokens.contiguous(), targets.contiguous(), reset_state=place == 0)

    def carried(self, processes: int) -> dict[str, int]:
        """Return the number of streams and the length of a step, if states are carried."""
        if self.feed == "windows":
            return {}
        return {"--data.batch_size": self.batch_size, "--data.length": self.length, "processes": processes}

    def state_dict(self) -> dict[str, Any]:
        """Return the number of batches consumed and what the carried states belong to, for the checkpoint."""
        return {**super().state_dict(), "carried": self.carried(self._ranks)}

    def val_dataloader(self) -> DataLoader:
        """Return the whole validation split as one stream."""
        return self._held_out("val")

    def test_dataloader(self) -> DataLoader:
        """Return the whole test split as one stream."""
        return self._held_out("test")

    def _held_out(self, split: str) -> DataLoader:
        text = self._splits[split]
        tokens, targets = text[None, :-1], text[None, 1:]  # [1, N − 1]
        starts = range(0, tokens.shape[1], CHUNK)
        batches = [TextBatch(tokens[:, t : t + CHUNK], targets[:, t : t + CHUNK], reset_state=t == 0) for t in starts]
        return DataLoader(_WholeText(batches), batch_size=None)


class _WholeText(IterableDataset):
    """Batches in their order. Every process reads all of them, since their state is carried from one to the next."""

    def __init__(self, batches: list[TextBatch]) -> None:
        self.batches = batches

    def __iter__(self) -> Iterator[TextBatch]:
        return iter(self.batches)
