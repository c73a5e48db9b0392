"""Command-line options with argparse: errors in one line, and types that say which values are allowed."""

import argparse
import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from lightning_modules.errors import one_line


class LineParser(argparse.ArgumentParser):
    """ArgumentParser without abbreviations; an error is one line and exit status 2.

    Args:
        prog: name of the script.
        description: printed by --help as it is.
        usage: first line of --help; None lists all options there.
    """

    def __init__(self, prog: str, description: str | None, usage: str | None = None) -> None:
        super().__init__(
            prog,
            usage,
            description,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )

    def error(self, message: str) -> NoReturn:
        """Print the error and exit."""
        self.exit(2, f"{self.prog}: error: {one_line(message)}\n")


def whole_number(least: int) -> Callable[[str], int]:
    """Return a parser of whole numbers of `least` or more, below 2⁶³."""

    def parse(word: str) -> int:
        if not word.isdecimal() or not least <= int(word) < 1 << 63:
            raise argparse.ArgumentTypeError(f"{word!r} is not a whole number of {least} or more")
        return int(word)

    return parse


def number(least: float, most: float, above: bool = False) -> Callable[[str], float]:
    """Return a parser of numbers from `least` (or, with `above`, from above `least`) to `most`."""

    def parse(word: str) -> float:
        try:
            value = float(word)
        except ValueError:
            value = math.nan
        if not least <= value <= most or (above and value == least):
            limits = f"above {least:g} and at most {most:g}" if above else f"from {least:g} to {most:g}"
            raise argparse.ArgumentTypeError(f"{word!r} is not a number {limits}")
        return value

    return parse


def some_text(word: str) -> str:
    """Return a text that is not empty."""
    if not word:
        raise argparse.ArgumentTypeError("the text is empty")
    return word


def existing_file(word: str) -> Path:
    """Return the path of a file."""
    if not os.path.isfile(word):  # also False for a name that no file can have
        raise argparse.ArgumentTypeError(f"there is no file {word}")
    return Path(word)
