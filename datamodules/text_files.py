"""Readers of texts with a class each: TextGCN's four sets, a file of your own, and the docstrings of PyTorch."""

import importlib
import inspect
import re
import unicodedata
from pathlib import Path
from typing import NamedTuple

from datamodules.download import find_files
from datamodules.errors import DataError
from datamodules.text_lines import file_lines


class Text(NamedTuple):
    """A text with its class.

    Args:
        split: "train", "test" or "new".
        label: the name of its class; "" for a new text.
        words: its words, as the networks read them.
        line: the line of a new text as it was given; "" for all others.
    """

    split: str
    label: str
    words: list[str]
    line: str = ""


PUBLISHED = {"R8": (5485, 2189), "R52": (6532, 2568), "MR": (7108, 3554), "Ohsumed": (3357, 4043)}  # numbers of texts
SPLITS = {"train": "train", "training": "train", "test": "test"}  # names in files
PARTS = ("nn", "optim", "distributions", "linalg", "fft", "special", "cuda", "sparse", "autograd")  # of torch
PIECE = re.compile(r"[^\W_]+|[^\w\s]")  # \w has letters and digits, but no marks
JOINERS = "\u200c\u200d"  # zero-width non-joiner and joiner
LONGEST = 100  # words of a docstring that are read


def read_texts(name: str, path: str | None, download: bool = False) -> list[Text]:
    """Return the texts of a named set, or of a file with a text in every line.

    Args:
        name: a published set, or torch for the docstrings of PyTorch.
        path: a file to read instead.
        download: whether to fetch a published set if no data folder has it.

    Raises:
        DataError: if a file is missing or invalid; the message describes what is expected.
    """
    if path is not None:
        return read_table(Path(path))
    return torch_texts() if name == "torch" else read_published(name, download)


def read_published(name: str, download: bool = False) -> list[Text]:
    """Return the texts of one of TextGCN's sets, as cleaned by its authors."""
    table, corpus = find_files(name, download)
    rows = [line.split("\t") for line in file_lines(table, "latin-1")]
    lines = file_lines(corpus, "latin-1")
    texts = [
        Text(SPLITS.get(row[1], row[1]), row[2], line.split())
        for row, line in zip(rows, lines, strict=False) if len(row) == 3
    ]  # fmt: skip
    found = tuple(sum(text.split == split for text in texts) for split in ("train", "test"))
    if found != PUBLISHED[name] or len(lines) != len(rows):
        raise DataError(
            f"{table} and {corpus.name} are cut short or not {name}: texts to train and to test are {found} instead of "
            f"{PUBLISHED[name]}"
        )
    return texts


def read_table(path: Path) -> list[Text]:
    """Return the texts of a file. A line has train or test, the class and the text, separated by tabs.

    The file is read as `datamodules.text_lines` describes. Blank lines are skipped; further tabs belong to the text. A
    repeated line counts twice. A message gives the number of test texts that are also training texts.

    Raises:
        DataError: if the file cannot be read, or a line has another form, such as a header.
    """
    texts = []
    for number, line in enumerate(file_lines(path), 1):
        if not line.strip():
            continue
        split, label, text = (part.strip() for part in (*line.split("\t", 2), "", "")[:3])
        if split not in SPLITS or not label or not text:
            raise DataError(
                f"{path}, line {number}: expected train or test, a class and a text, separated by tabs, got "
                f"{line[:60]!r}"
            )
        texts.append(Text(SPLITS[split], label, words_of(text)))
    known = {tuple(text.words) for text in texts if text.split == "train"}
    if shared := sum(tuple(text.words) in known for text in texts if text.split == "test"):
        print(f"{path}: {shared} of the texts to test are also among those to train on", flush=True)
    return texts


def read_lines(path: Path) -> list[Text]:
    """Return the texts of a file with a text in each line, without a class; blank lines are skipped.

    Raises:
        DataError: if the file cannot be read or has no text.
    """
    texts = [Text("new", "", words_of(line), line.strip()) for line in file_lines(path) if line.strip()]
    if not texts:
        raise DataError(f"{path} has no text: it is empty, or all its lines are blank")
    return texts


def torch_texts() -> list[Text]:
    """Return the docstrings of PyTorch's functions and classes, labelled by subpackage; every fifth is a test text.

    The names of the subpackages are removed. The texts need no file, but they depend on the version of PyTorch.
    """
    found: dict[str, Text] = {}  # by its words: some are in several subpackages
    for part in PARTS:
        module = importlib.import_module(f"torch.{part}")
        for name, value in sorted(vars(module).items()):
            words = [word for word in words_of(inspect.getdoc(value) or "") if word not in PARTS][:LONGEST]
            if not name.startswith("_") and callable(value) and len(words) >= 10:
                found[" ".join(words)] = Text("test" if len(found) % 5 == 4 else "train", part, words)
    return list(found.values())


def words_of(text: str) -> list[str]:
    """Return the words of a text in lower case, and every other character but spaces as a piece of its own.

    A word is a run of letters, digits and combining marks, as in "हिन्दी", normalised to NFC. A zero-width joiner or
    non-joiner belongs to it; an apostrophe does not: "it's" is three pieces. Thai and Chinese have no spaces between
    words, and no dictionary is used, so the text between two spaces or signs is one word.
    """
    text = unicodedata.normalize("NFC", text.lower())
    if text.isascii():
        return PIECE.findall(text)
    words: list[str] = []
    end, is_word = -1, False  # of the last piece
    for piece in PIECE.finditer(text):
        letters = piece[0][0].isalnum()
        mark = piece[0] in JOINERS or unicodedata.category(piece[0][0]).startswith("M")
        if piece.start() == end and (mark or (letters and is_word)):
            words[-1] += piece[0]
        else:
            words.append(piece[0])
            is_word = letters
        end = piece.end()
    return words
