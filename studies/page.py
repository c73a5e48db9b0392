"""The page of a results folder, and the tables in README and docs, all made from stored results.

    python -m studies.page                 docs/results/, and the blocks in README.md and docs/*.md
    python -m studies.page FOLDER          the page and the pictures of another results folder

A block of a page stands between `<!-- results: NAME -->` and `<!-- end of results -->`. NAME is a table of tables.yaml
or a stored benchmark, docs/results/benchmarks/NAME.csv.
"""

import ast
import json
import os
import re
import sys
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning_modules.errors import UserError, print_error
from lightning_modules.files import write_whole
from lightning_modules.options import LineParser
from studies import figures
from studies.analysis import markdown_rows, markdown_table
from studies.claim_list import counted
from studies.claims import PARTS, Claim, load
from studies.results import PUBLISHED_FOLDER, Result, command, read_results
from studies.tables import BENCHMARKS, NONE, Table, load_tables, read_benchmark, render, show, show_published
from studies.verdicts import verdict

ROOT = Path(__file__).resolve().parents[1]
BLOCK = re.compile(r"<!-- results: (?P<name>\S+) -->\n.*?<!-- end of results -->", re.DOTALL)
HEADINGS = {
    "recurrent": "Recurrent networks and their gradients",
    "palindromes": "Palindromes and other toy tasks",
    "book": "The book",
    "graphs": "Graphs",
    "texts": "Texts",
}
HEAD = """# Results

Every table and picture of the study beside the published one. "The study" is the Deep Learning practical of the
University of Amsterdam of 2020 and a student's report on it. `python study.py --list` shows all claims, and
`python study.py --only palindromes` runs a part of them again. This page is made by
`{made_by}`
from the files in `data/`. Each has the command, and for every seed the numbers, commit, versions and processor.

± is the sample standard deviation (n − 1) over the seeds. A claim holds if our mean is within the bounds beside it.
{count}
"""


def write_page(out: Path) -> Path:
    """Draw the figures of a results folder and write its page, from all that is stored there; return the page.

    Raises:
        UserError: if a stored file is damaged.
    """
    claims, results = load(), read_results(out)
    for figure in figures.FIGURES:
        figures.draw(figure, out)
    write_whole(out / "README.md", page(claims, results, out, drawn_figures(out)))
    return out / "README.md"


def drawn_figures(out: Path) -> list[figures.Figure]:
    """Return the figures for which a results folder has data."""
    return [figure for figure in figures.FIGURES if figure.stored(out)]


def page(claims: list[Claim], results: Mapping[str, Result], out: Path, drawn: list[figures.Figure]) -> str:
    """Return the page of a results folder as Markdown.

    Args:
        claims: all claims.
        results: the stored results.
        out: the results folder, for the texts and pictures of analyses.
        drawn: the figures that have been drawn.
    """
    by_id = {claim.id: claim for claim in claims}
    counts = counted(Counter(verdict(claim, results.get(claim.id)) for claim in claims))
    own = out.resolve() == PUBLISHED_FOLDER
    made_by = "python -m studies.page" if own else f"python -m studies.page {out}"
    parts = [HEAD.format(made_by=made_by, count=f"Of {len(claims)} claims: {counts}.")]
    machines = _machines(results)
    for part in PARTS:
        chosen = [claim for claim in claims if claim.part == part]
        if not any(claim.id in results for claim in chosen):
            continue
        parts.append(f"## {HEADINGS[part]}\n")
        for figure in drawn:
            if figure.part == part:
                parts.append(f"### {figure.title}\n\n{figure.caption}\n\n![{figure.title}]({figure.name}.png)\n")
        for table in load_tables(by_id).values():
            if table.part == part and table.title:
                caption = f"{table.caption}\n\n" if table.caption else ""
                parts.append(f"### {table.title}\n\n{caption}{render(table, by_id, results)}\n")
        parts += _analyses(chosen, results, out)
        stored = [claim for claim in chosen if claim.id in results]
        parts.append(f"### Claims: {part}\n\n{_claims_table(stored, results, machines)}\n")
        parts += [f"- **{claim.id}**: {claim.why.strip()}" for claim in stored if claim.why]
        parts.append("")
        if missing := [f"`{claim.id}`" for claim in chosen if claim.id not in results]:
            parts.append(f"\nNot run yet: {', '.join(missing)}.\n")
    if own:
        parts += _benchmarks(load_tables(by_id))
    if machines:
        parts += ["## Machines\n", *(f"- **{letter}**: {text}" for text, letter in machines.items())]
    return re.sub(r"\n{3,}", "\n\n", "\n".join(parts)).strip() + "\n"


def _claims_table(claims: list[Claim], results: Mapping[str, Result], machines: Mapping[str, str]) -> str:
    """Return the table of a part: published | ours ± std | seeds | command | machine."""
    rows = []
    for claim in claims:
        result, source = results.get(claim.id), claim.published.source if claim.published else ""
        unit = f" {claim.unit}" if claim.unit else ""
        environments = [run["summary"].get("environment", {}) for run in result.runs] if result else []
        where = dict.fromkeys(_made(each, machines) for each in environments)
        rows.append(
            {
                "claim": f"{claim.claim} (`{claim.id}`)",
                "published": f"{show_published(claim)}{unit}, {source}" if source else NONE,
                "ours": f"{show(claim, result, [])}{unit}" if result and result.runs else NONE,
                "holds if": f"{claim.holds}{unit}",
                "verdict": verdict(claim, result),
                "seeds": show(claim, result, ["seeds"]),
                "command": f"`{command(claim)}`",
                "machine, commit, date": "; ".join(where) or NONE,
            }
        )
    return markdown_table(rows)


def _machines(results: Mapping[str, Result]) -> dict[str, str]:
    """Return a letter for each machine with its versions, so that a row of a table can name it."""
    found = dict.fromkeys(
        _machine(environment)
        for result in results.values()
        for run in result.runs
        if (environment := run["summary"].get("environment"))
    )
    return {text: chr(ord("A") + number) for number, text in enumerate(sorted(found))}


def _machine(facts: Mapping[str, Any]) -> str:
    device = "" if facts["device"] == "cpu" else f", {facts['device']}"
    return (
        f"{facts['processor']}, {facts['cores']} cores{device}; Python {facts['python']}, torch {facts['torch']}, "
        f"Lightning {facts['pytorch_lightning']}, PyG {facts['torch_geometric']}"
    )


def _made(facts: Mapping[str, Any], machines: Mapping[str, str]) -> str:
    """Return the machine's letter, the commit and the date of a run."""
    if not facts:
        return "unknown"
    return ", ".join(filter(None, (machines[_machine(facts)], facts["commit"], facts["date"])))


def _analyses(claims: list[Claim], results: Mapping[str, Result], out: Path) -> list[str]:
    """Return the pictures and texts that the analyses of a part have written, each once, below what they show."""
    files = {name: claim.analysis for claim in claims if claim.id in results for name in results[claim.id].files}
    parts, titles = [], set()
    for name in sorted(files, key=lambda name: (Path(name).stem, name.endswith(".md"))):
        title = Path(name).stem.replace("_", " ").replace("-", " ").capitalize().replace("Rnn", "RNN")
        if title not in titles and not name.endswith(".csv"):
            parts.append(f"### {title}\n")
            titles.add(title)
            if analysis := files[name]:
                parts.append(_first_line(analysis.module) + "\n")
        if name.endswith(".png"):
            parts.append(f"![{title}]({name})\n")
        elif name.endswith(".md"):
            parts.append((out / "data" / name).read_text(encoding="utf-8").strip() + "\n")
    return parts


def _first_line(module: str) -> str:
    """Return what the docstring of a module says first, without importing the module."""
    source = (ROOT / module.replace(".", "/")).with_suffix(".py").read_text(encoding="utf-8")
    return str(ast.get_docstring(ast.parse(source))).splitlines()[0]


def _benchmarks(tables: Mapping[str, Table]) -> list[str]:
    """Return the list of stored benchmarks."""
    rows = []
    blocks = {each: set(BLOCK.findall(each.read_text(encoding="utf-8"))) for each in pages()}
    for path in sorted(BENCHMARKS.glob("*.json")):
        facts = json.loads(path.read_text(encoding="utf-8"))
        where = facts["environment"]
        machine = f"{_machine(where)}; {where['commit']}, {where['date']}" if where else NONE
        by = {path.stem, *(name for name, table in tables.items() if path.stem in table.benchmarks)}
        shown = [page for page, names in blocks.items() if names & by]
        links = (f"[{each.name}]({os.path.relpath(each, PUBLISHED_FOLDER).replace(os.sep, '/')})" for each in shown)
        rows.append(
            {
                "file": f"[{path.stem}](benchmarks/{path.stem}.csv)",
                "shown in": ", ".join(links) or NONE,
                "command": f"`{facts['command']}`",
                "machine": machine,
                "note": facts["note"],
            }
        )
    return ["## Benchmarks\n", f"{markdown_table(rows)}\n"] if rows else []


def rewritten(text: str, folder: Path = PUBLISHED_FOLDER) -> str:
    """Return a page with its blocks made again from the stored results.

    Raises:
        UserError: if there is neither a table nor a benchmark of a block's name.
    """
    claims = {claim.id: claim for claim in load()}
    tables, results = load_tables(claims), read_results(folder)

    def made(found: re.Match[str]) -> str:
        name = found["name"]
        table = render(tables[name], claims, results) if name in tables else markdown_rows(read_benchmark(name))
        return f"<!-- results: {name} -->\n{table}\n<!-- end of results -->"

    return BLOCK.sub(made, text)


def pages() -> list[Path]:
    """Return the pages that may have blocks."""
    return [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def write_docs() -> None:
    """Make the page of docs/results and all blocks in README and docs again."""
    write_page(PUBLISHED_FOLDER)
    for path in pages():
        text = path.read_text(encoding="utf-8")
        if (new := rewritten(text)) != text:
            write_whole(path, new)


def main() -> int:
    """Carry out the command line."""
    parser = LineParser("studies.page", __doc__)
    parser.add_argument(
        "folder", type=Path, nargs="?", help="a results folder (default: docs/results, with the blocks)"
    )
    folder = parser.parse_args().folder
    try:
        if folder is None:
            write_docs()
        else:
            print(write_page(folder))
    except UserError as error:
        return print_error("studies.page", error)
    return 0


if __name__ == "__main__":
    sys.exit(main())
