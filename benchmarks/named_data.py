"""What the benchmarks on named data sets share: --data.download, as train.py has it, and one line for missing data."""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

from datamodules.data_folders import DataError


def make_parser(description: str | None) -> argparse.ArgumentParser:
    """Return a parser with the option --data.download."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--data.download", dest="download", metavar="{true,false}", type=_truth, default=False,
        help="whether a named set that no data folder has is fetched",
    )  # fmt: skip
    return parser


def run(main: Callable[[], int]) -> int:
    """Run a benchmark and return its exit status; data that cannot be had are one line, and 2."""
    try:
        return main()
    except DataError as error:
        print(f"{Path(sys.argv[0]).stem}: error: {error}", file=sys.stderr)
        return 2


def _truth(word: str) -> bool:
    if word not in ("true", "false"):
        raise argparse.ArgumentTypeError(f"true or false is wanted, got {word!r}")
    return word == "true"
