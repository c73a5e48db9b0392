"""The command line of study.py."""

import argparse
from pathlib import Path

from lightning_modules.files import file_name
from lightning_modules.options import LineParser, whole_number


def parse(arguments: list[str], description: str | None) -> tuple[argparse.Namespace, list[str]]:
    """Return the options of study.py, and the other arguments, which are train.py's."""
    parser = LineParser("study.py", description)
    add = parser.add_argument
    add("--config", action="append", required=True, help="a config of train.py; may be given several times")
    add("--seeds", nargs="+", type=int, default=[42], help="values of seed_everything (default: 42)")
    add("--vary", nargs="+", action="append", default=[], metavar=("KEY", "VALUE"), help="a setting and its values")
    add("--jobs", type=whole_number(1), default=1, help="processes at a time (default: 1)")
    add("--name", type=_folder_name, help="name of the folder for the results (default: the names of the configs)")
    return parser.parse_known_args(arguments)


def _folder_name(word: str) -> str:
    if Path(word).name != word or word in ("", ".", ".."):
        raise argparse.ArgumentTypeError(f"{word!r} is not the name of one folder")
    if file_name(word) != word:
        raise argparse.ArgumentTypeError(f"{word!r} is not valid on every file system; {file_name(word)!r} would be")
    return word
