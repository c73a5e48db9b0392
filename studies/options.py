"""The command line of study.py, and what it leaves for train.py."""

import argparse
import os
from pathlib import Path

from lightning_modules.files import file_name
from lightning_modules.options import LineParser, number, whole_number

OF_CONFIGS = ("seeds", "vary", "name")  # options that need --config
OF_CLAIMS = ("list", "only", "budget", "quick", "out", "download")  # and those that it excludes


def parse(arguments: list[str], description: str | None) -> tuple[argparse.Namespace, list[str]]:
    """Return the options of study.py, and the other arguments, which are train.py's.

    The attribute `started` is set by what carries the options out, once a mistake is no longer found beforehand.
    """
    parser = LineParser("study.py", description, "study.py [options]")
    claims = parser.add_argument_group("claims")
    add = claims.add_argument
    add("--list", action="store_true", help="list all claims with their results, and run nothing")
    add("--only", nargs="+", metavar="PART", help="parts of the study, or ids of claims (default: all)")
    add("--budget", type=number(0, 1e6, above=True), metavar="MINUTES", help="what fits into so many CPU minutes")
    add("--quick", action="store_true", help="short runs of one seed, which show that everything works and no result")
    add("--out", type=Path, metavar="FOLDER", help="folder for the results (default: runs/study/results)")
    add("--download", action="store_true", help="fetch named data sets that are not here")
    configs = parser.add_argument_group("configs; other options are passed on to train.py")
    add = configs.add_argument
    add("--config", action="append", help="a config of train.py; may be given several times")
    add("--seeds", nargs="+", type=int, help="values of seed_everything (default: 42)")
    add("--vary", nargs="+", action="append", metavar=("KEY", "VALUE"), help="a setting and its values")
    add("--name", type=_folder_name, help="name of the folder for the results (default: the names of the configs)")
    both = parser.add_argument_group("both")
    add = both.add_argument
    add("--executor", choices=("local", "slurm"), default="local", help="where the runs go (default: local)")
    add("--partition", help="SLURM's partition (default: the cluster's)")
    add("--jobs", type=whole_number(1), help="processes at a time (default: one per core; in SLURM's queue: all)")
    options, others = parser.parse_known_args(arguments)
    alone, excluded = ((), OF_CLAIMS) if options.config else (OF_CONFIGS, ())
    for name in [*alone, *excluded]:
        if getattr(options, name) not in (None, False):
            parser.error(f"--{name} {'cannot be used with' if options.config else 'needs'} --config")
    if not options.config and others:
        parser.error(f"unrecognized arguments: {' '.join(others)}; settings of train.py need --config")
    if options.quick and options.budget is not None:
        parser.error("--budget cannot be used with --quick: how long the short runs take is not known")
    if options.partition and options.executor != "slurm":
        parser.error("--partition needs --executor slurm")
    options.started = False
    options.seeds, options.vary = options.seeds or [42], options.vary or []
    return options, others


def slots(options: argparse.Namespace, jobs: int) -> int:
    """Return how many of these jobs run, or are in SLURM's queue, at a time."""
    return min(options.jobs or (jobs if options.executor == "slurm" else os.cpu_count() or 1), max(jobs, 1))


def _folder_name(word: str) -> str:
    if Path(word).name != word or word in ("", ".", ".."):
        raise argparse.ArgumentTypeError(f"{word!r} is not the name of one folder")
    if file_name(word) != word:
        raise argparse.ArgumentTypeError(f"{word!r} is not valid on every file system; {file_name(word)!r} would be")
    return word
