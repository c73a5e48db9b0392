"""Names of files: readable, short enough, one for each text."""

import pytest

from lightning_modules.files import LONGEST, file_name


def test_an_ordinary_name_stays_as_it_is() -> None:
    assert file_name("palindrome_lstm_data.length=4") == "palindrome_lstm_data.length=4"
    assert file_name("my config") == "my config"
    assert file_name("größe=5") == "größe=5"


@pytest.mark.parametrize(
    "text", ["x" * 1000, "ü" * 100, "data.path=../a/b", 'a:b*c?"<>|', "a\\b", "a\nb", "..", "a.", "a ", "\udce4"]
)
def test_other_names_are_taken_by_every_file_system(text: str) -> None:
    name = file_name(text)
    assert len(name.encode()) <= LONGEST
    assert not set(name) & set('/\\:*?"<>|\n')
    assert name.strip(".") == name != ""
    assert file_name(text) == name
    assert file_name(name) == name, "it is one"


def test_two_texts_have_two_names() -> None:
    texts = ["a b", "a_b", "a b ", "a/b", "a\\b", "a-b", "a:b", "x" * 200, "x" * 201]
    assert len({file_name(text) for text in texts}) == len(texts)
    assert file_name("x" * 200).startswith("x" * 100), "readable"
