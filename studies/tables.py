"""Tables of stored results: templates of tables.yaml, whose cells have placeholders for results.

A cell is text with placeholders:

    {palindromes-lstm-10}                     ours: the mean over the seeds ± standard deviation, in the claim's unit
    {palindromes-lstm-10 published}           the published value
    {palindromes-lstm-10 solved_at each}      another name of summary.json, by seed
    {umls-complex test/hits@10 mean .3f}      its mean alone, with three digits

Other words: `seeds` and `command`. A result that is not stored is shown as "–"; one that lacks seeds says so. A cell of
a stored benchmark is named by its file, the first cells of its row, and its column:

    {recurrent-float32 | tokens (256, 41, 64, 256) | GRU | ÷ torch.nn}
"""

import csv
import re
import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from lightning_modules.errors import UserError, did_you_mean
from studies.analysis import markdown_rows
from studies.claims import Claim
from studies.results import Result, command
from studies.verdicts import seeds_missing

FILE = Path(__file__).with_name("tables.yaml")
BENCHMARKS = Path(__file__).resolve().parents[1] / "docs" / "results" / "benchmarks"
PLACEHOLDER = re.compile(r"\{([^{}]+)\}")
NONE = "–"


@dataclass(frozen=True)
class Table:
    """A table of the page of results, and of other pages by its name.

    Args:
        name: its name in `<!-- results: NAME -->`.
        part: the part of the study.
        columns: the head.
        rows: the cells of every row.
        title: its heading on the page of results.
        caption: what it shows, above it.
    """

    name: str
    part: str
    columns: list[str]
    rows: list[list[str]]
    title: str = ""
    caption: str = ""

    @property
    def benchmarks(self) -> set[str]:
        """The stored benchmarks that its cells name."""
        named = (found for row in self.rows for cell in row for found in PLACEHOLDER.findall(cell))
        return {found.split("|")[0].strip() for found in named if "|" in found}


def load_tables(claims: Mapping[str, Claim], path: Path = FILE) -> dict[str, Table]:
    """Return the tables of a file by their names.

    Raises:
        UserError: if a row has no placeholder or not as many cells as there are columns, or a claim is unknown.
    """
    tables: dict[str, Table] = {}
    for entry in yaml.safe_load(path.read_text(encoding="utf-8")):
        try:
            table = Table(**entry | {"rows": [[str(cell) for cell in row] for row in entry["rows"]]})
        except (TypeError, KeyError) as error:
            raise UserError(f"{path.name}: {entry.get('name', entry)}: {error}") from error
        if table.name in tables:
            raise UserError(f"{path.name}: two tables have the name {table.name}")
        for row in table.rows:
            if problem := _problem(row, table, claims):
                raise UserError(f"{path.name}: {table.name}: {problem}")
        tables[table.name] = table
    return tables


def _problem(row: list[str], table: Table, claims: Mapping[str, Claim]) -> str:
    """Return what is wrong with a row, "" if nothing is."""
    if len(row) != len(table.columns):
        return f"a row has {len(row)} cells, and the table {len(table.columns)} columns: {row}"
    named = [found for cell in row for found in PLACEHOLDER.findall(cell)]
    if not named:
        return f"a row has no placeholder for a result: {row}"
    unknown = [claim for found in named if "|" not in found and (claim := found.split()[0]) not in claims]
    return f"there is no claim {unknown[0]}{did_you_mean(unknown[0], claims)}" if unknown else ""


def render(table: Table, claims: Mapping[str, Claim], results: Mapping[str, Result]) -> str:
    """Return a table as Markdown, with the stored results in place of the placeholders."""
    return markdown_rows([table.columns, *(_filled(row, claims, results) for row in table.rows)])


def _filled(row: list[str], claims: Mapping[str, Claim], results: Mapping[str, Result]) -> list[str]:
    """Return a row with the stored results in it. Where a claim lacks seeds, it says so once."""
    placeholders = [found.split() for cell in row for found in PLACEHOLDER.findall(cell)]
    said = {name for name, *words in placeholders if words == ["seeds"]}  # `show` says so there

    def shown(found: re.Match[str]) -> str:
        if "|" in found[1]:
            return benchmark_cell(*(part.strip() for part in found[1].split("|")))
        name, *words = found[1].split()
        text = show(claims[name], results.get(name), words)
        missing = seeds_missing(claims[name], results.get(name))
        if not missing or name in said or words in (["published"], ["command"]):
            return text
        said.add(name)
        return f"{text} ({missing} seeds)"

    return [PLACEHOLDER.sub(shown, cell) for cell in row]


def benchmark_cell(name: str, *place: str) -> str:
    """Return a cell of a stored benchmark.

    Args:
        name: the benchmark.
        place: the first cells of its row, and its column.

    Raises:
        UserError: if there is no such cell.
    """
    *row, column = place
    table = read_benchmark(name)
    found = [line[table[0].index(column)] for line in table[1:] if line[: len(row)] == row and column in table[0]]
    if len(found) != 1:
        raise UserError(f"{{{name} | {' | '.join(place)}}} names {len(found)} cells of {name}.csv")
    return found[0]


def read_benchmark(name: str) -> list[list[str]]:
    """Return the rows of a stored benchmark, its head first.

    Raises:
        UserError: if it is not stored.
    """
    path = BENCHMARKS / f"{name}.csv"
    if not path.is_file():
        raise UserError(f"there is neither a table {name} in {FILE.name} nor {path}")
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.reader(file))


def show(claim: Claim, result: Result | None, words: list[str]) -> str:
    """Return what a placeholder stands for.

    Args:
        claim: the claim that it names.
        result: the claim's stored result.
        words: the placeholder's other words.
    """
    if words == ["published"]:
        return show_published(claim)
    if words == ["command"]:
        return f"`{command(claim)}`"
    if result is None or not result.runs:
        return NONE
    if words == ["seeds"]:
        missing = seeds_missing(claim, result)
        return (in_ranges(result.seeds) or NONE) + (f" ({missing})" if missing else "")
    digits = next((word for word in words if word.startswith(".")), "")
    names = [word for word in words if word not in ("mean", "each", digits)] or [claim.metric]
    percent = (claim.unit == "%" and names[0] in (claim.metric, "std_over_iterations")) or "accuracy" in names[0]
    values = [None if x is None else x * (100 if percent else 1) for x in result.numbers(names[0])]
    digits = digits or _digits(values, percent)
    if "each" in words:
        return ", ".join(NONE if value is None else f"{value:{digits}}" for value in values)
    return spread(values, digits, with_std="mean" not in words)


def in_ranges(seeds: list[int]) -> str:
    """Return 0, 1, 2, 3 as "0–3", and 40, 42, 44, which do not follow each other, as "40 42 44"."""
    if len(seeds) > 2 and seeds == list(range(seeds[0], seeds[-1] + 1)):
        return f"{seeds[0]}–{seeds[-1]}"
    return " ".join(map(str, seeds))


def show_published(claim: Claim) -> str:
    """Return a claim's published value with its standard deviation."""
    if claim.published is None:
        return NONE
    std = "" if claim.published.std is None else f" ± {claim.published.std:g}"
    return f"{claim.published.value:g}{std}"


def spread(values: list[Any], digits: str, with_std: bool = True) -> str:
    """Return the mean ± the sample standard deviation of the values that are known, and how many are not."""
    known = [value for value in values if value is not None]
    if not known:
        return NONE
    shown = f"{statistics.fmean(known):{digits}}"
    if with_std and len(known) > 1:
        shown += f" ± {statistics.stdev(known):{digits}}"
    return shown if len(known) == len(values) else f"{shown} ({len(known)} of {len(values)} runs)"


def _digits(values: list[Any], percent: bool) -> str:
    """Return the format of values: two digits of a percentage, none of whole numbers, else three."""
    known = [abs(value) for value in values if value is not None]
    if percent:
        return ".2f"
    if all(isinstance(value, int) for value in known):
        return ".0f"
    return ".3f" if 0.01 <= max(known) < 1e6 else ".2g"
