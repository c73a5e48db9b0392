"""Edge lists, as SNAP and others publish graphs: a pair of names in every line.

The file is text as in `datamodules.text_lines`. Its rules:

- A line has two names with a separator between them, the same in all lines: a tab if the first pair has one, else a
  comma if it has one, else spaces. Spaces around a name are removed. Names may contain spaces only if tabs separate
  them. Names are compared as they are written: `1` and `01` differ.
- Blank lines and comments (lines that begin with `#` or `%`) are skipped.
- A header, such as `source target` or `id_1,id_2`, is an error: it would become an edge.
- A pair counts once, even if it appears several times or in both directions.
- A line that joins a name to itself is left out; a message gives the number of these lines.
"""

import re
from pathlib import Path

import torch
from torch import Tensor

from datamodules.errors import DataError
from datamodules.text_lines import file_lines, is_header

SEPARATORS = {"a tab": r"\s*\t\s*", "a comma": ",", "spaces": r"\s+"}


def read_pairs(path: Path) -> tuple[Tensor, int]:
    """Return the pairs [n, 2] of different nodes, each once, and the number of nodes, numbered in order of their names.

    Raises:
        DataError: if the file cannot be read, has a header, has a line that is not a pair, or has no pair.
    """
    rows = _rows(path)
    loops = [number for number, (one, other) in rows.items() if one == other]
    named = [row for row in rows.values() if row[0] != row[1]]
    if not named:
        raise DataError(f"{path} has no friendships: no line joins two different names")
    if loops:
        more = f" and {len(loops) - 1} more" if len(loops) > 1 else ""
        print(f"{path}: left out line {loops[0]}{more}, which join a name to itself", flush=True)
    numbers = {name: number for number, name in enumerate(sorted({name for row in named for name in row}))}
    pairs = torch.tensor([[numbers[one], numbers[other]] for one, other in named], dtype=torch.int64)
    return torch.unique(pairs.sort(1).values, dim=0), len(numbers)


def _rows(path: Path) -> dict[int, list[str]]:
    """Return the two names of every pair by the number of their line."""
    lines = {number: line.strip() for number, line in enumerate(file_lines(path), 1)}
    lines = {number: line for number, line in lines.items() if line and line[0] not in "#%"}
    first = next(iter(lines.values()), "")
    between = "a tab" if "\t" in first else "a comma" if "," in first else "spaces"
    rows = {number: [name.strip() for name in re.split(SEPARATORS[between], line)] for number, line in lines.items()}
    for number, row in rows.items():
        spaced = between != "a tab" and any(re.search(r"\s", name) for name in row)
        if len(row) != 2 or not all(row) or spaced:
            raise DataError(
                f"{path}, line {number}: expected two names, got {lines[number][:60]!r}; the first pair "
                f"is separated by {between}"
            )
    numbers = [all(name.lstrip("-").isdecimal() for name in row) for row in rows.values()]
    if rows and (is_header(next(iter(rows.values()))) or (len(numbers) > 1 and not numbers[0] and all(numbers[1:]))):
        number = next(iter(rows))
        raise DataError(f"{path}, line {number} is a header, {lines[number]!r}: remove it, or put # before it")
    return rows
