"""Types of options, and errors in one line."""

import argparse

import pytest

from lightning_modules.options import LineParser, existing_file, number, some_text, whole_number


def test_whole_numbers() -> None:
    assert whole_number(0)("0") == 0
    for word in ("-1", "1.0", "", "x", "²", "9223372036854775808"):
        with pytest.raises(argparse.ArgumentTypeError, match="is not a whole number of 0 or more"):
            whole_number(0)(word)


def test_numbers_in_limits() -> None:
    assert number(0, 1)("0") == 0
    assert number(0, 1, above=True)("1") == 1
    for word in ("-0.1", "1.1", "nan", "inf", "", "x"):
        with pytest.raises(argparse.ArgumentTypeError, match="is not a number from 0 to 1"):
            number(0, 1)(word)
    with pytest.raises(argparse.ArgumentTypeError, match="'0' is not a number above 0 and at most 1"):
        number(0, 1, above=True)("0")


def test_texts_and_files() -> None:
    assert some_text("a") == "a"
    with pytest.raises(argparse.ArgumentTypeError, match="the text is empty"):
        some_text("")
    for word in ("none", ".", "a\0b", ""):
        with pytest.raises(argparse.ArgumentTypeError, match="there is no file"):
            existing_file(word)


def test_an_error_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    parser = LineParser("script.py", "100 %")
    parser.add_argument("--number", type=whole_number(1))
    for words, line in (
        (["--number", "a\nb"], "argument --number: 'a\\nb' is not a whole number of 1 or more"),
        (["--numb", "1"], "unrecognized arguments: --numb 1"),
    ):
        with pytest.raises(SystemExit) as stop:
            parser.parse_args(words)
        assert stop.value.code == 2
        assert capsys.readouterr().err == f"script.py: error: {line}\n"
