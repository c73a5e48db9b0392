"""Windows and streams against slices of the text, splits, vocabulary."""

import random
import string
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from pytorch_lightning.utilities.exceptions import MisconfigurationException

from datamodules.book import Book
from datamodules.errors import DataError

TEXT = "".join(random.Random(0).choices(string.ascii_lowercase, k=2000))


@pytest.fixture
def file(own_folder: Path) -> str:
    Path("text.txt").write_text(TEXT)
    return "text.txt"


def decode(book: Book, tokens: torch.Tensor) -> str:
    return "".join(book.vocabulary[token] for token in tokens.tolist())


def test_vocabulary_and_splits(file: str) -> None:
    book = Book(file, val_fraction=0.1, test_fraction=0.2)
    assert book.vocabulary == "".join(sorted(set(TEXT)))
    assert book.vocab_size == len(set(TEXT))
    splits = [decode(book, book._splits[split]) for split in ("train", "val", "test")]
    assert splits == [TEXT[:1400], TEXT[1400:1600], TEXT[1600:]]


def test_windows_are_pieces_of_the_training_text(file: str) -> None:
    book = Book(file, length=12, batch_size=50)
    starts = set()
    for step in range(40):
        tokens, targets, reset_state = book.batch_of_step(step, 0)
        assert reset_state
        assert tokens.shape == targets.shape == (50, 12)
        for row, target in zip(tokens, targets, strict=True):
            window = decode(book, row) + decode(book, target)[-1]
            assert decode(book, target) == window[1:]
            assert window in TEXT[:1800]
            starts.add(TEXT.index(window))
    assert min(starts) < 20
    assert max(starts) > 1760, "to the end of the training text, and no further"


@pytest.mark.parametrize("ranks", [1, 2])
def test_streams_read_the_whole_training_text_on(file: str, ranks: int) -> None:
    book = Book(file, feed="streams", length=9, batch_size=4)
    if ranks > 1:
        book.trainer = SimpleNamespace(world_size=ranks)
    size = 1800 // (4 * ranks)
    for rank in range(ranks):
        ends: list[int] | None = None
        passes = 0
        for step in range(200):
            tokens, targets, reset_state = book.batch_of_step(step, rank)
            assert torch.equal(tokens[:, 1:], targets[:, :-1])
            passes += reset_state
            for k, row in enumerate(tokens):
                stream = TEXT[(rank * 4 + k) * size :][:size]
                start = stream.index(decode(book, row))
                if reset_state:
                    assert start <= 9
                else:
                    assert start == ends[k], "goes on where the step before ended"
            ends = [TEXT[(rank * 4 + k) * size :][:size].index(decode(book, row)) + 9 for k, row in enumerate(tokens)]
            if not reset_state or step == 0:
                assert min(ends) <= size
        assert passes == 1 + 199 // ((size - 1) // 9 - 1)


def test_held_out_text_is_one_stream(file: str) -> None:
    book = Book(file, val_fraction=0.6, test_fraction=0.3, length=3, batch_size=2)
    for loader, text in ((book.val_dataloader(), TEXT[200:1400]), (book.test_dataloader(), TEXT[1400:])):
        batches = list(loader)
        assert "".join(decode(book, tokens[0]) for tokens, _, _ in batches) == text[:-1]
        assert "".join(decode(book, targets[0]) for _, targets, _ in batches) == text[1:]
        assert [bool(reset_state) for *_, reset_state in batches] == [True] + [False] * (len(batches) - 1)


def test_a_text_too_short_for_all_processes(file: str) -> None:
    book = Book(file, length=20, batch_size=50, feed="streams")  # 1050 of 1800 characters, twice that on two processes
    book.train_dataloader()
    book.trainer = SimpleNamespace(world_size=2)  # type: ignore[assignment]
    with pytest.raises(MisconfigurationException, match="1800 characters, too few for 100 streams of 20"):
        book.train_dataloader()


def test_what_cannot_be(file: str) -> None:
    for arguments, message in (
        ({"path": file, "val_fraction": 0.5, "test_fraction": 0.5}, "nothing is left for training"),
        ({"path": file, "length": 1800}, "1800 characters, too few for a window of 1800"),
        ({"path": file, "length": 20, "batch_size": 100, "feed": "streams"}, "too few for 100 streams of 20"),
        ({"path": "none.txt"}, "there is no file none.txt"),
        ({"book": "ulysses"}, "there is no book 'ulysses'; there are democracy, grimm"),
    ):
        with pytest.raises(DataError, match=message):
            Book(**arguments)


def test_without_a_file_there_is_a_text() -> None:
    book = Book()
    assert len(book.text) > 100_000
    assert book.make_batch(np.random.default_rng(0))[0].shape == (64, 30)
