"""Shared by the benchmarks on named data sets: the option --data.download, and one error line for missing data."""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

from datamodules.errors import DataError


def make_parser(description: str | None) -> argparse.ArgumentParser:
    """Return a parser with the option --data.download."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--data.download", dest="download", metavar="{true,false}", type=_truth, default=False,
        help="fetch a named data set that is in no data folder",
    )  # fmt: skip
    return parser


def run(main: Callable[[], int]) -> int:
    """Run a benchmark and return its exit status. Missing data print one line and return 2."""
    try:
        return main()
    except DataError as error:
        print(f"{Path(sys.argv[0]).stem}: error: {error}", file=sys.stderr)
        return 2


def _truth(word: str) -> bool:
    if word not in ("true", "false"):
        raise argparse.ArgumentTypeError(f"expected true or false, got {word!r}")
    return word == "true"
