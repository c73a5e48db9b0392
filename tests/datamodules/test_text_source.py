"""Reading, stripping and finding texts."""

import os
from pathlib import Path

import pytest

from datamodules import text_source
from datamodules.errors import DataError
from datamodules.gutenberg import strip_licence
from datamodules.text_source import BOOKS, find_book, read_text
from tests.conftest import BOOK


def test_reading(own_folder: Path) -> None:
    Path("a.txt").write_bytes("\ufeffÄpfel\r\nund\rBirnen\n".encode())
    assert read_text(Path("a.txt")) == "Äpfel\nund\nBirnen\n"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b" \n\n", "is empty"),
        (b"abc\xe4bc", "is not UTF-8: the byte at offset 3 is 0xe4"),
        (b"\x89PNG\0\0", "is not text: it has a zero byte at offset 4"),
    ],
)
def test_what_is_no_text(own_folder: Path, content: bytes, message: str) -> None:
    Path("a.txt").write_bytes(content)
    with pytest.raises(DataError, match=message):
        read_text(Path("a.txt"))


def test_folders_and_missing_files(own_folder: Path) -> None:
    with pytest.raises(DataError, match="there is no file nothing"):
        read_text(Path("nothing"))
    with pytest.raises(DataError, match=r"cannot read \.: Is a directory"):
        read_text(Path("."))


def test_a_named_book_is_known_by_its_title(own_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RESEARCH_DATA_DIR", raising=False)
    with pytest.raises(
        DataError, match=r"democracy is not in data/books; add --data\.download true to fetch it \(1\.1 MB"
    ):
        find_book("democracy")
    Path("data/deep").mkdir(parents=True)
    Path("data/deep/815-0.txt").write_text(BOOK.format(title="Democracy In America", closing="", the="THIS"))
    Path("data/other.txt").write_text(BOOK.format(title="Another", closing="", the="THIS"))
    assert find_book("democracy") == Path("data/deep/815-0.txt")
    monkeypatch.setenv("RESEARCH_DATA_DIR", "elsewhere")
    assert find_book("democracy") == Path("data/deep/815-0.txt")


def test_a_download_is_checked_and_kept(mirror: dict[str, bytes]) -> None:
    address = "gutenberg.pglaf.org/8/1/815/815-0.txt"
    with pytest.raises(
        DataError, match=rf"cannot fetch democracy: .*/{address} returned 404 .* from www\.gutenberg\.org/"
    ):
        find_book("democracy", download=True)
    whole = BOOK.format(title="Democracy In America", closing="", the="THIS")
    mirror[address] = whole.encode()
    with pytest.raises(DataError, match=r"815-0\.txt does not have the published content of democracy\.txt"):
        find_book("democracy", download=True)
    assert not Path("data").exists()
    mirror[address] = (whole + "x" * text_source.BOOKS["democracy"].characters[0]).encode()
    path = find_book("democracy", download=True)
    assert path == Path("data/books/democracy.txt")
    assert find_book("democracy") == path


def test_another_text_in_the_place_of_a_book_is_kept(mirror: dict[str, bytes]) -> None:
    Path("data/books").mkdir(parents=True)
    Path("data/books/democracy.txt").write_text("mine")
    with pytest.raises(DataError, match=r"data/books/democracy\.txt is not democracy as published; remove it"):
        find_book("democracy", download=True)
    assert Path("data/books/democracy.txt").read_text() == "mine"


def test_real_books() -> None:
    folder = os.environ.get("RESEARCH_DATA_DIR")
    if not folder or not (Path(folder) / "books").is_dir():
        pytest.skip("RESEARCH_DATA_DIR has no books")
    for name, characters, distinct in (("democracy", 1_129_001, 79), ("grimm", 520_793, 80)):
        text = strip_licence(read_text(find_book(name)))
        assert abs(len(text) - characters) < 20
        assert len(set(text)) == distinct
        least, greatest = BOOKS[name].characters
        assert least <= len(read_text(find_book(name))) <= greatest


def test_titles_differ_in_dashes_and_capitals(own_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RESEARCH_DATA_DIR", raising=False)
    Path("data/books").mkdir(parents=True)
    Path("data/books/x.txt").write_text("The Project Gutenberg eBook\n\nTitle: Democracy in America — Volume 1\n")
    assert find_book("democracy") == Path("data/books/x.txt")
