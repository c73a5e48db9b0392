"""Prompts from files that cannot be read, and the characters that stand for unknown ones."""

import re

import pytest

from lightning_modules.errors import UserError
from lightning_modules.prompt import known_part, read_prompt_file, similar_character
from tests.conftest import ALPHABET


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("a\0b", "a file name cannot contain a null character: 'a\\x00b'"),
        ("", "cannot read : No such file or directory"),
        ("x" * 5000, "File name too long"),
        ("a\nb", "cannot read a\\nb: No such file or directory"),
        (".", "Is a directory"),
    ],
)
def test_prompt_files_that_are_none(name: str, message: str) -> None:
    with pytest.raises(UserError, match=re.escape(message)):
        read_prompt_file(name)


def test_a_prompt_without_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lightning_modules.prompt.MOST_BYTES", 1000)
    with pytest.raises(UserError, match="/dev/zero has more than 1,000 bytes"):
        read_prompt_file("/dev/zero")


@pytest.mark.parametrize(
    ("character", "similar"), [("é", "e"), ("A", "a"), ("’", "'"), ("É", "e"), ("\t", " "), ("X", "")]
)
def test_a_similar_character(character: str, similar: str) -> None:
    assert similar_character(character, ALPHABET) == similar


def test_only_the_first_unknown_characters_are_listed() -> None:
    with pytest.raises(UserError) as error:
        known_part("aX" * 6 + "UVWYZ", ALPHABET, skip=False, what="the text")
    assert "'X' at 1, 3, 5, 7, 9 …, 'U' at 12, 'V' at 13, 'W' at 14, 'Y' at 15 …; --unknown skip" in str(error.value)
