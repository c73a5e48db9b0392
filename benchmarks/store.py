"""Store the Markdown tables that a benchmark prints, so that a page can show them.

    python -m benchmarks.decoding | python -m benchmarks.store decoding --command "python -m benchmarks.decoding"

Each table becomes docs/results/benchmarks/NAME.csv, with NAME.json beside it (command, commit, versions, processor) and
NAME.png, if a picture is given. A page shows it between `<!-- results: NAME -->` and `<!-- end of results -->`;
`python -m studies.page` writes it there.
"""

import argparse
import json
import shutil
import sys
from pathlib import Path
from typing import Any

from lightning_modules.environment import environment
from lightning_modules.errors import UserError, print_error
from lightning_modules.files import write_whole
from lightning_modules.options import existing_file
from studies.analysis import write_rows
from studies.results import PUBLISHED_FOLDER, hash_of


def tables_in(text: str) -> list[list[list[str]]]:
    """Return the Markdown tables of a text: the cells of their rows, the head first, without the line below it."""
    tables: list[list[list[str]]] = []
    inside = False
    for line in text.splitlines():
        if line.startswith("|"):
            cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
            if not inside:
                tables.append([])
            if not all(set(cell) <= set("-: ") and cell for cell in cells):
                tables[-1].append(cells)
        inside = line.startswith("|")
    return tables


def store(folder: Path, name: str, table: list[list[str]], facts: dict[str, Any], picture: Path | None = None) -> None:
    """Write a table, its picture, and the facts about them.

    Args:
        folder: where the benchmarks are stored.
        name: the table's name.
        table: the cells of its rows, the head first.
        facts: `command`, `environment` (None if unknown) and `note`.
        picture: a PNG that shows the table.
    """
    folder.mkdir(parents=True, exist_ok=True)
    write_rows(folder / f"{name}.csv", table)
    if picture is not None:
        shutil.copyfile(picture, folder / f"{name}.png")
        facts = facts | {"picture": hash_of(picture)}
    write_whole(folder / f"{name}.json", json.dumps(facts, indent=1, ensure_ascii=False) + "\n")


def main() -> int:
    """Store the tables on standard input."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="+", help="a name for each table")
    parser.add_argument("--command", required=True, help="the command that printed them")
    parser.add_argument("--note", default="", help="what a reader must know: other load, number of repetitions")
    parser.add_argument("--picture", type=existing_file, help="a PNG that shows the (first) table")
    parser.add_argument("--device", default="cpu", help="where it ran (default: cpu)")
    options = parser.parse_args()
    tables = tables_in(sys.stdin.read())
    try:
        if len(tables) != len(options.names):
            raise UserError(f"{len(options.names)} names are given for {len(tables)} tables")
        facts = {"command": options.command, "environment": environment(options.device), "note": options.note}
        for name, table in zip(options.names, tables, strict=True):
            store(
                PUBLISHED_FOLDER / "benchmarks",
                name,
                table,
                facts,
                options.picture if name == options.names[0] else None,
            )
    except UserError as error:
        return print_error("benchmarks.store", error)
    return 0


if __name__ == "__main__":
    sys.exit(main())
