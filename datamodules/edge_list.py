"""Edge lists: a pair of names in every line, as SNAP and others publish graphs.

The file is text as in `datamodules.text_lines`. Its rules:

- Two names a line, with a tab, a comma or spaces between them: a tab where the first pair has one, else a comma where
  it has one, else spaces. All lines have the same. Spaces around a name are no part of it, and only where tabs separate
  may it have some inside. Names are compared as they are written: `1` and `01` are two.
- Blank lines are skipped anywhere, and so are comments: lines that begin with `#` or `%`.
- A header, such as `source target` or `id_1,id_2`, is refused: it would be an edge.
- A pair counts once, however often and in whichever direction it is there.
- A line that joins a name to itself is left out, and one line says how many there were.
"""

import re
from pathlib import Path

import torch
from torch import Tensor

from datamodules.data_folders import DataError
from datamodules.text_lines import file_lines, is_header

SEPARATORS = {"a tab": r"\s*\t\s*", "a comma": ",", "spaces": r"\s+"}


def read_pairs(path: Path) -> tuple[Tensor, int]:
    """Return the pairs [n, 2] of different nodes, each once, and the number of nodes, numbered in order of their names.

    Raises:
        DataError: if the file cannot be read, has a header, a line that is no pair, or no pair at all.
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
                f"{path}, line {number}: two names are expected, got {lines[number][:60]!r}; in the first pair "
                f"{between} {'are' if between == 'spaces' else 'is'} between them"
            )
    numbers = [all(name.lstrip("-").isdecimal() for name in row) for row in rows.values()]
    if rows and (is_header(next(iter(rows.values()))) or (len(numbers) > 1 and not numbers[0] and all(numbers[1:]))):
        number = next(iter(rows))
        raise DataError(f"{path}, line {number} is a header, {lines[number]!r}: remove it, or put # before it")
    return rows
