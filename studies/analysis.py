"""What the analyses of studies/ share: their command line, and the files that they leave.

    python -m studies.NAME --out FOLDER [--runs FOLDER …] [own options]

An analysis writes into its folder: summary.json (numbers by name, and where they were made), and if it has them
NAME.csv (curves), NAME.png (a picture) and NAME.md (a table or texts for the page of results). summary.json comes last,
so an analysis without it has not ended.
"""

import csv
import io
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from lightning_modules import files
from lightning_modules.dotted_keys import flat
from lightning_modules.errors import UserError
from lightning_modules.options import LineParser

Number = float | int | None  # None: there is no such number, as the step at which an unsolved task was solved


def analysis_parser(name: str, description: str | None, reads_runs: bool = False) -> LineParser:
    """Return the command-line parser of an analysis, to which it adds its own options.

    Args:
        name: the analysis, as in `python -m studies.NAME`.
        description: what --help prints.
        reads_runs: whether it reads finished runs, so that it takes --runs.
    """
    parser = LineParser(f"studies.{name}", description)
    parser.add_argument("--out", type=Path, required=True, help="folder for the results; it is made")
    if reads_runs:
        parser.add_argument("--runs", type=Path, nargs="+", required=True, help="folders of finished runs to read")
    return parser


def prepare_folder(out: Path) -> None:
    """Make the folder of an analysis, and remove the summary.json of an earlier one.

    Raises:
        UserError: if the folder cannot be made, or no file can be written there.
    """
    files.make_folder(out)
    (out / "summary.json").unlink(missing_ok=True)


def write_summary(out: Path, numbers: Mapping[str, Number], device: str = "cpu") -> None:
    """Write summary.json: numbers, CPU time, and where they were made. The other files must have been written before.

    Raises:
        ValueError: if a number is infinite or NaN, which JSON does not have.
    """
    wrong = [name for name, value in numbers.items() if value is not None and not math.isfinite(value)]
    if wrong:
        raise ValueError(f"no finite numbers: {', '.join(wrong)}")
    # It imports torch, which a list of claims does without.
    from lightning_modules.environment import cpu_seconds, environment

    facts = dict(numbers) | {"cpu_seconds": round(cpu_seconds(), 1), "environment": environment(device)}
    files.write_whole(out / "summary.json", json.dumps(facts, indent=2) + "\n")


def write_csv(path: Path, columns: Mapping[str, Sequence[Any]]) -> None:
    """Write columns of equal length under their names. Numbers keep six significant digits.

    Raises:
        ValueError: if the columns differ in length.
    """
    rows = zip(*columns.values(), strict=True)
    write_rows(path, [[*columns], *([f"{x:.6g}" if isinstance(x, float) else x for x in row] for row in rows)])


def read_csv(path: Path) -> dict[str, list[str]]:
    """Return the columns of a CSV file that `write_csv` wrote, by their names.

    Raises:
        UserError: if the file cannot be read, has no rows, or a row has not the head's number of cells.
    """
    try:
        head, *rows = csv.reader(path.read_text(encoding="utf-8").splitlines())
        columns = dict(zip(head, ([*column] for column in zip(*rows, strict=True)), strict=True))
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from error
    except (ValueError, csv.Error) as error:
        raise UserError(f"{path} is damaged ({error}); remove it and run the study again") from error
    return columns


def write_rows(path: Path, rows: Iterable[Sequence[Any]]) -> None:
    """Write a CSV file."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    files.write_whole(path, text.getvalue())


def markdown_table(rows: Sequence[Mapping[str, object]]) -> str:
    """Return rows as a Markdown table, without a line break at its end; the first row's keys are its head."""
    return markdown_rows([[*rows[0]], *([*row.values()] for row in rows)])


def markdown_rows(rows: Sequence[Sequence[object]]) -> str:
    """Return rows, of which the first is the head, as a Markdown table."""
    head, *others = ([str(cell) for cell in row] for row in rows)
    lines = [head, ["---"] * len(head), *others]
    return "\n".join("|" + "|".join(f" {cell} " if cell else " " for cell in line) + "|" for line in lines)


def settings_of(run: Path) -> dict[str, Any]:
    """Return the settings of a run of train.py by dotted keys, such as `data.init_args.length`.

    Raises:
        UserError: if its config.yaml cannot be read.
    """
    try:
        return flat(yaml.safe_load((run / "config.yaml").read_text(encoding="utf-8")))
    except (OSError, yaml.YAMLError) as error:
        raise UserError(f"cannot read {run / 'config.yaml'}: {' '.join(str(error).split())}") from error
