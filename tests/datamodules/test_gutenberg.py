"""Project Gutenberg's markers: what is the book, and what stays because it is unclear."""

import re

import pytest

from datamodules.gutenberg import OUTSIDE, strip_licence
from tests.conftest import BOOK


@pytest.mark.parametrize(
    "closing", ["", "End of the Project Gutenberg EBook of A Book\n\n", "End of Project Gutenberg’s\n"]
)
@pytest.mark.parametrize("the", ["THIS", "THE"])
def test_the_book_lies_between_the_markers(closing: str, the: str) -> None:
    text = BOOK.format(title="A Book", closing=closing, the=the).replace("START OF THIS", f"START OF {the}")
    assert strip_licence(text) == "Chapter one.\n\nChapter two.\n"


def test_without_markers_nothing_is_guessed() -> None:
    for text in ("Just a text.", BOOK.split("*** END")[0], "*** END" + BOOK.split("*** END")[1]):
        assert strip_licence(text) == text


def test_licences_of_today_and_a_closing_line_inside_the_book() -> None:
    text = "Title\n*** START OF THE PROJECT GUTENBERG eBook X ***\nbegin\nEnd of Project Gutenberg is told here\n"
    text += "more\n" * 200 + "*** END OF THE PROJECT GUTENBERG eBook X ***\nlicence\n"
    stripped = strip_licence(text)
    assert stripped.startswith("begin\nEnd of Project")
    assert stripped.endswith("more\n")


START, END = "*** START OF THE PROJECT GUTENBERG EBOOK {} ***\n", "*** END OF THE PROJECT GUTENBERG EBOOK {} ***\n"
LICENCE = "The licence.\n" * 1400  # about as long as it is


def book(title: str, body: str, start: str = START, end: str = END) -> str:
    text = f"The Project Gutenberg eBook of {{}}\n\n{start}\n{body}\n{end}\n{LICENCE}\n"
    return text.replace("{}", title)


def test_all_books_of_a_file_are_kept(capsys: pytest.CaptureFixture[str]) -> None:
    text = book("One", "First.") + book("Two", "Second,\n\nlonger.") + book("Three", "Third.")
    assert strip_licence(text) == "First.\n\nSecond,\n\nlonger.\n\nThird.\n"
    assert not capsys.readouterr().out


@pytest.mark.parametrize(
    "start",
    [
        "***START OF THE PROJECT GUTENBERG EBOOK {}***\n",
        "*** start of this project gutenberg ebook {} ***\n",
        "  *** START OF THE PROJECT GUTENBERG EBOOK, {} ***  \n",
        "*** START OF THE PROJECT GUTENBERG ETEXT {} ***\n",
        "*** START OF THE COPYRIGHTED PROJECT GUTENBERG EBOOK {} ***\n",
        "*** START OF THE PROJECT GUTENBERG EBOOK {} AND A TITLE\nSO LONG\nTHAT IT IS BROKEN ***\n",
        "*** START OF THE PROJECT GUTENBERG EBOOK {}\n",  # not closed
        "*** START OF THE PROJECT GUTENBERG EBOOK {}",  # not closed, and the book in the next line
    ],
)
@pytest.mark.parametrize(
    "end",
    [
        "*** END OF THE PROJECT GUTENBERG EBOOK {} ***\n",
        "***END OF THE PROJECT GUTENBERG EBOOK {}***",
        "*** end of this project gutenberg ebook {}",
        "End of Project Gutenberg's {}, by A.\n\n*** END OF THE PROJECT GUTENBERG E-BOOK {} *** and more\n",
    ],
)
def test_markers_in_all_their_forms(start: str, end: str, capsys: pytest.CaptureFixture[str]) -> None:
    body = "A star * in it,\n\n* * *\n\n*** and three,\n" + "text\n" * 300 + "last.\n"
    assert strip_licence(book("One", body, start, end)) == body
    assert not capsys.readouterr().out


def test_what_follows_a_marker_on_its_line_is_kept() -> None:
    assert strip_licence(book("One", "First.", "*** START OF THE PROJECT GUTENBERG EBOOK {} *** Made by A.\n")) == (
        "Made by A.\n\nFirst.\n"
    )


SMALL_PRINT = """The Project Gutenberg Etext of {}

***START**THE SMALL PRINT!**FOR PUBLIC DOMAIN ETEXTS**START***
Why is this here?
*END*THE SMALL PRINT! FOR PUBLIC DOMAIN ETEXTS*Ver.04.29.93*END*
"""


@pytest.mark.parametrize(
    "last", ["*END*THE SMALL PRINT! FOR", "*END THE SMALL PRINT! FOR", "*end*The Small Print! For"]
)
def test_files_of_before_2003(last: str, capsys: pytest.CaptureFixture[str]) -> None:
    header = SMALL_PRINT.replace("*END*THE SMALL PRINT! FOR", last)
    old = header.format("One") + "\nFirst.\n\nEnd of The Project Gutenberg Etext of One, by A\n\n"
    assert strip_licence(old) == "First.\n"
    assert strip_licence(old + book("Two", "Second.")) == "First.\n\nSecond.\n"
    reposted = header.format("One") + "\nFirst.\n\nEnd of Project Gutenberg's One\n\n" + END.format("One") + LICENCE
    assert strip_licence(reposted) == "First.\n"
    assert not capsys.readouterr().out


@pytest.mark.parametrize(
    ("text", "kept", "why"),
    [
        (book("One", "First.", end=""), ["First."], "line 3: START without END"),
        (book("One", "First.", start=""), ["First."], "line 5: END without START"),
        (book("One", "First.", end="") + book("Two", "Second."), ["First.", "Second."], "line 3: START without END"),
        (book("One", "First.") + book("Two", "Second.", end=""), ["First.", "Second."], "START without END"),
        (book("One", "First.") + book("Two", "Second.", start=""), ["First.", "Second."], "END without START"),
        (book("One", "First.", start="") + book("Two", "Second."), ["First.", "Second."], "line 5: END without START"),
        (SMALL_PRINT.format("One") + "First.\n" + book("Two", "Second."), ["First.", "Second."], "header without end"),
        (book("One", "First.") + "Mine.\n" * OUTSIDE, ["First.", "Mine."], "characters outside of the markers"),
        (
            "Mine.\n" * OUTSIDE + book("One", "First."),
            ["Mine.", "First."],
            "line 1: .* characters outside of the markers",
        ),
    ],
)
def test_where_it_is_unclear_the_text_stays_and_a_line_says_so(
    text: str, kept: list[str], why: str, capsys: pytest.CaptureFixture[str]
) -> None:
    stripped = strip_licence(text, "my_book.txt")
    places = [stripped.index(part) for part in kept]
    assert places == sorted(places)
    out = capsys.readouterr().out
    assert out.startswith("my_book.txt: Project Gutenberg's markers are unclear (line ")
    assert out.count("\n") == 1
    assert re.search(why, out)


def test_a_text_without_markers_is_long_without_a_word(capsys: pytest.CaptureFixture[str]) -> None:
    text = "Mine.\n" * OUTSIDE
    assert strip_licence(text) == text
    assert not capsys.readouterr().out
