"""The page of a results folder, and the blocks of README and docs."""

from pathlib import Path

import pytest

from lightning_modules.errors import UserError
from studies import page, tables
from studies.results import store_analysis, store_runs
from tests.studies.small_results import ENVIRONMENT, LSTM, SPECTRA, analysis_folder, run_folder

OUT = Path("results")


@pytest.fixture
def stored(own_folder: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Return the page of a folder with the results of two claims, of which one has run with one of two seeds."""
    monkeypatch.setattr(page, "load", lambda: [SPECTRA, LSTM])
    monkeypatch.setattr(page, "load_tables", lambda claims: {})
    (own_folder / "studies").mkdir()
    (own_folder / "studies/spectra.py").write_text('"""How far gradients reach back.\n\nMore.\n"""\n')
    monkeypatch.setattr(page, "ROOT", own_folder)
    store_runs(OUT, LSTM, {40: run_folder(own_folder / "40")})
    store_analysis(OUT, SPECTRA, analysis_folder(own_folder / "a"))
    return page.write_page(OUT).read_text()


def test_a_page_shows_all_that_is_stored(stored: str) -> None:
    assert "Of 2 claims: 1 holds, 1 not all seeds." in stored
    assert "![Figure 1](figure-1.png)" in stored
    assert (OUT / "figure-1.png").is_file()
    assert "### Spectra\n\nHow far gradients reach back.\n\n![Spectra](spectra.png)\n\n| radius | ratio |" in stored
    row = next(line for line in stored.splitlines() if f"(`{LSTM.id}`)" in line)
    assert "| 99.92 ± 0.11 %, report, Table 1 | 100.00 % | ≥ 99.9 % | not all seeds | 40 (1 of 2) |" in row
    assert "--seeds 40 42 --data.length 10" in row
    assert row.endswith(f"| A, {ENVIRONMENT['commit']}, {ENVIRONMENT['date']} |")
    assert "- **A**: " in stored
    assert f"- **{LSTM.id}**: The report is older." in stored
    assert "Figure 2" not in stored


def test_blocks_are_made_from_tables_and_benchmarks(own_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "BENCHMARKS", own_folder)
    (own_folder / "decoding.csv").write_text('what,"1 sample, 1 thread"\nkernels.decode,"7,200"\n')
    text = "before\n<!-- results: decoding -->\nold\n<!-- end of results -->\nafter\n"
    made = page.rewritten(text, OUT)
    assert made == (
        "before\n<!-- results: decoding -->\n| what | 1 sample, 1 thread |\n| --- | --- |\n| kernels.decode | 7,200 |\n"
        "<!-- end of results -->\nafter\n"
    )
    assert page.rewritten(made, OUT) == made
    with pytest.raises(UserError, match=r"there is neither a table other in tables\.yaml nor"):
        page.rewritten(text.replace("decoding", "other"), OUT)
