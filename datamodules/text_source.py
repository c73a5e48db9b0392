"""Sources of training text: files and named books."""

import os
from pathlib import Path
from typing import NamedTuple

from datamodules.data_folders import data_folders
from datamodules.download import absent, fetch
from datamodules.errors import DataError
from datamodules.text_lines import file_text


class NamedBook(NamedTuple):
    """A book of Project Gutenberg.

    Args:
        title: title in the `Title:` line, which identifies the file by whatever name; compared without case and
            punctuation.
        characters: least and greatest length with header and licence, since editions differ.
    """

    title: str
    characters: tuple[int, int]


BOOKS = {
    "democracy": NamedBook("Democracy In America, Volume 1", (1_050_000, 1_300_000)),
    "grimm": NamedBook("Grimms’ Fairy Tales", (500_000, 620_000)),
}


def read_text(path: Path) -> str:
    """Return the text of a UTF-8 file, without a byte order mark, with LF at the ends of lines.

    Raises:
        DataError: if it is missing, a folder, unreadable, empty, binary or not UTF-8.
    """
    if not os.path.exists(path):  # also False for an invalid name
        raise DataError(f"there is no file {path}")
    text = file_text(path)
    if not text.strip():
        raise DataError(f"{path} is empty")
    return text


def find_book(name: str, download: bool = False) -> Path:
    """Return the file of a named book: found in the data folders by its title line, or downloaded to data/books.

    Args:
        name: a key of BOOKS.
        download: whether to fetch the book if no data folder has it.

    Raises:
        DataError: if the book is unknown, or its file is missing and is not or cannot be fetched.
    """
    if name not in BOOKS:
        raise DataError(f"there is no book {name!r}; there are {', '.join(BOOKS)}, and --data.path takes any text")
    book = BOOKS[name]
    for folder in data_folders():
        for path in sorted(folder.glob("**/*.txt")):
            if _has_title(path, book.title):
                return path
    if not download:
        raise absent(name)
    return fetch(name, lambda path: is_book(path, book))[0]


def is_book(path: Path, book: NamedBook) -> bool:
    """Return whether a file has the title line and a length of a book."""
    try:
        length = len(read_text(path))
    except DataError:
        return False
    return _has_title(path, book.title) and book.characters[0] <= length <= book.characters[1]


def _has_title(path: Path, title: str) -> bool:
    """Return whether one of the first lines of a file is `Title:` and the title."""
    try:
        with path.open("rb") as file:
            head = file.read(4000).decode("utf-8-sig", errors="replace")
    except OSError:
        return False
    titles = (line.removeprefix("Title:") for line in head.splitlines() if line.startswith("Title:"))
    return any(_letters(found).startswith(_letters(title)) for found in titles)


def _letters(title: str) -> str:
    """Return the letters and digits of a title; editions differ in dashes, apostrophes and capitals."""
    return "".join(character for character in title.casefold() if character.isalnum())


def offline_text() -> str:
    """Return the help topics of Python, for smoke tests without a file."""
    from pydoc_data.topics import topics

    return "\n".join(topics[name] for name in sorted(topics))
