"""Every figure in README and docs has a stored run or a stored benchmark behind it."""

import json
import re
import statistics
from pathlib import Path

import pytest

from studies import figures
from studies.claims import load
from studies.page import BLOCK, drawn_figures, page, pages, rewritten
from studies.results import PUBLISHED_FOLDER, command, hash_of, read_results
from studies.tables import BENCHMARKS
from studies.verdicts import values_of, verdict
from tests.test_docs import anchors

ROOT = Path(__file__).parents[1]
MEASURED = re.compile(r"^[≥≤~−]?\d[\d.,]*(?!\w)|±|\d ?%")  # it begins with a figure, or has one of these signs
# Tables that say how large something is, and not what was measured.
FACTS = ("| `--data.name` | graphs | property | stored splits |",)

# A figure in prose: a number with decimals or with %, and no version of some software or hardware.
IN_PROSE = re.compile(r"(?<![\w.:/–-])\d[\d,]*\.\d+(?![\w.]*\d)|\d[\d,.]*(?= ?%)")
VERSION = re.compile(
    r"(?:[Pp]ython|torch|triton|cuDNN|Lightning|PyG|on|compute capability) \d[\d.]*(?: (?:to|and|or) \d[\d.]*)?"
)

each_page = pytest.mark.parametrize("path", pages(), ids=lambda path: path.name)


def measured_rows(text: str) -> list[str]:
    """Return the table rows of a page that have figures and stand outside its blocks of stored results."""
    found, head = [], ""
    for line in BLOCK.sub("", re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)).splitlines():
        if not line.startswith("|"):
            head = ""
            continue
        head = head or line
        cells = re.sub(r"`[^`]*`|\[[^]]*\]\([^)]*\)", "code or link", line).strip("| ").split("|")
        if head not in FACTS and any(MEASURED.search(cell.strip()) for cell in cells):
            found.append(line)
    return found


@pytest.mark.parametrize(
    ("row", "measured"),
    [
        ("| Cora | GCN | 82.09 |", True),
        ("| LSTM | 121 |", True),
        ("| `kernels.decode`, float32 | 7,200 |", True),
        ("| solved in | 65 % |", True),
        ("| accuracy | 82 ± 1 |", True),
        ("| Kipf & Welling 2017, [arXiv:1609.02907](https://arxiv.org/abs/1609.02907) | N² |", False),
        ("| `--version 2.11` | with 4H rows from 8.0 on |", False),
    ],
)
def test_what_a_measured_row_is(row: str, measured: bool) -> None:
    text = f"| a | b |\n| --- | --- |\n{row}\n"
    assert measured_rows(text) == [row] * measured
    assert measured_rows(f"<!-- results: x -->\n{text}<!-- end of results -->\n") == []


def prose_figures(text: str) -> list[str]:
    """Return the figures that stand in the prose of a page."""
    text = BLOCK.sub("", re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE))
    text = re.sub(r"^[|#].*$|`[^`]*`|\[[^]]*\]\([^)]*\)|<[^>]*>", "", text, flags=re.MULTILINE)
    return IN_PROSE.findall(VERSION.sub("", " ".join(text.split())))


def test_what_a_figure_in_prose_is() -> None:
    text = "Python 3.11 to 3.14, torch 2.13: `--tau 0.5`, 3 rows,\nbut 82.1 ± 1.25, 7 % and 1,234.5 ms\n\n| a | 0.1 |\n"
    assert prose_figures(text) == ["82.1", "1.25", "7", "1,234.5"]


@each_page
def test_figures_in_prose_are_among_the_stored_results(path: Path) -> None:
    stored = [PUBLISHED_FOLDER / "README.md", *BENCHMARKS.glob("*.csv"), *PUBLISHED_FOLDER.glob("data/*.md"), *pages()]
    text = " ".join(
        each.read_text(encoding="utf-8") if PUBLISHED_FOLDER in each.parents else blocks(each) for each in stored
    )
    known = set(re.findall(r"\d[\d,]*(?:\.\d+)?", text))
    assert [figure for figure in prose_figures(path.read_text(encoding="utf-8")) if figure not in known] == []


def blocks(path: Path) -> str:
    """Return the blocks of stored results on a page."""
    return " ".join(found[0] for found in BLOCK.finditer(path.read_text(encoding="utf-8")))


@each_page
def test_figures_in_tables_are_made_from_stored_results(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert measured_rows(text) == [], "put them between <!-- results: NAME --> and <!-- end of results -->"
    assert rewritten(text) == text, "python -m studies.page makes the tables again"


def test_the_page_of_results_shows_what_is_stored() -> None:
    made = page(load(), read_results(PUBLISHED_FOLDER), PUBLISHED_FOLDER, drawn_figures(PUBLISHED_FOLDER))
    assert (PUBLISHED_FOLDER / "README.md").read_text(encoding="utf-8") == made, "python -m studies.page makes it again"


@each_page
def test_pictures_are_drawn_from_stored_results(path: Path) -> None:
    known = {PUBLISHED_FOLDER / f"{figure.name}.png" for figure in drawn_figures(PUBLISHED_FOLDER)}
    known |= {PUBLISHED_FOLDER / name for each in read_results(PUBLISHED_FOLDER).values() for name in each.files}
    known |= {BENCHMARKS / f"{file.stem}.png" for file in BENCHMARKS.glob("*.json")}
    text = path.read_text(encoding="utf-8")
    for picture in re.findall(r'!\[[^]]*\]\(([^)\s]+)\)|<img src="([^"]+)"', text):
        assert (path.parent / "".join(picture)).resolve() in known


def test_stored_pictures_show_the_stored_data() -> None:
    for figure in drawn_figures(PUBLISHED_FOLDER):
        data = figure.stored(PUBLISHED_FOLDER).values()
        assert figures.is_drawn_from(PUBLISHED_FOLDER / f"{figure.name}.png", data), "python -m studies.page draws it"
    for result in read_results(PUBLISHED_FOLDER).values():
        for name, sha256 in result.files.items():
            folder = PUBLISHED_FOLDER if name.endswith(".png") else PUBLISHED_FOLDER / "data"
            assert hash_of(folder / name) == sha256, name
    for file in BENCHMARKS.glob("*.json"):
        picture = BENCHMARKS / f"{file.stem}.png"
        assert json.loads(file.read_text()).get("picture") == (hash_of(picture) if picture.exists() else None), file


def test_stored_results_are_those_of_the_claims() -> None:
    claims, results = {claim.id: claim for claim in load()}, read_results(PUBLISHED_FOLDER)
    assert results.keys() <= claims.keys()
    for name, result in results.items():
        assert result.claim == name
        assert result.command == command(claims[name]), f"{name}: its settings have changed; run it again"
        assert not result.quick, f"{name}: a quick run is not a result"
        assert all(run["summary"]["environment"]["commit"] for run in result.runs), name


def test_the_page_says_why_ours_differs() -> None:
    # It differs from the report by more than both standard deviations, or so much that the claim does not hold.
    results = read_results(PUBLISHED_FOLDER)
    for claim in load():
        values = (
            [value for value in values_of(claim, results[claim.id]) if value is not None] if claim.id in results else []
        )
        if values:
            stds = [0.0, *([statistics.stdev(values)] if len(values) > 1 else [])]
            far = False
            if claim.published is not None and claim.published.source.startswith(("report", "practical")):
                far = abs(statistics.mean(values) - claim.published.value) > max(*stds, claim.published.std or 0.0)
            assert claim.why or not (far or verdict(claim, results[claim.id]) == "differs"), claim.id


def test_claims_are_shown_where_they_say() -> None:
    for claim in load():
        page, _, anchor = claim.shown.partition("#")
        assert (ROOT / page).is_file(), claim.id
        assert not anchor or anchor in anchors(ROOT / page), claim.id


def test_stored_benchmarks_say_where_they_are_from() -> None:
    for file in BENCHMARKS.glob("*.json"):
        facts = json.loads(file.read_text(encoding="utf-8"))
        assert facts["command"], file
        assert facts["environment"] or facts["note"], file
        assert file.with_suffix(".csv").is_file(), file


def test_nothing_else_is_stored() -> None:
    results = read_results(PUBLISHED_FOLDER)
    known = {"README.md", *(f"{figure.name}.png" for figure in drawn_figures(PUBLISHED_FOLDER))}
    known |= {f"data/{name}.json" for name in results}
    known |= {f"data/{claim}.csv" for claim in results if figures.tags_drawn(claim)}
    for result in results.values():
        known |= {name if name.endswith(".png") else f"data/{name}" for name in result.files}
    for file in BENCHMARKS.glob("*.json"):
        known |= {f"benchmarks/{file.stem}.{ending}" for ending in ("json", "csv", "png")}
    there = (path.relative_to(PUBLISHED_FOLDER).as_posix() for path in PUBLISHED_FOLDER.rglob("*") if path.is_file())
    assert [name for name in there if name not in known] == []
