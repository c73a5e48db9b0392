"""Tables whose cells have placeholders for stored results."""

from pathlib import Path

import pytest

from lightning_modules.errors import UserError
from studies import tables
from studies.claims import load
from studies.results import Result, command
from studies.tables import Table, _digits, in_ranges, load_tables, render, show, spread
from tests.studies.small_results import LSTM, SPECTRA

CLAIMS = {claim.id: claim for claim in (LSTM, SPECTRA)}
RESULT = Result(
    LSTM.id,
    command(LSTM),
    [
        {"seed": 40, "summary": {"accuracy": 0.998, "solved_at": 210, "std_over_iterations": 0.001, "test/mrr": 0.5}},
        {"seed": 42, "summary": {"accuracy": 1.0, "solved_at": None, "std_over_iterations": 0.003, "test/mrr": 0.25}},
    ],
    quick=False,
    files={},
)


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        ("", "99.90 ± 0.14"),
        ("mean", "99.90"),
        ("each .1f", "99.8, 100.0"),
        ("published", "99.92 ± 0.11"),
        ("seeds", "40 42"),
        ("solved_at each", "210, –"),
        ("solved_at", "210 (1 of 2 runs)"),
        ("std_over_iterations mean .3f", "0.200"),
        ("test/mrr", "0.375 ± 0.177"),
        ("test/hits", "–"),
        ("command", f"`{command(LSTM)}`"),
    ],
)
def test_what_a_placeholder_stands_for(words: str, shown: str) -> None:
    assert show(LSTM, RESULT, words.split()) == shown


def test_seeds_that_follow_each_other_are_a_range() -> None:
    assert [in_ranges(seeds) for seeds in ([], [7], [0, 1], [0, 1, 2], [0, 1, 3])] == ["", "7", "0 1", "0–2", "0 1 3"]


def test_what_is_not_stored_is_a_dash() -> None:
    assert show(LSTM, None, []) == show(LSTM, None, ["seeds"]) == show(SPECTRA, None, ["published"]) == "–"
    assert show(LSTM, None, ["published"]) == "99.92 ± 0.11"


def test_a_table_is_filled_in() -> None:
    rows = [["LSTM, n = 10", "{palindromes-lstm-10} ({palindromes-lstm-10 published})"], ["spectra", "{spectra}"]]
    assert render(Table("a", "palindromes", ["network", "%"], rows), CLAIMS, {LSTM.id: RESULT}) == (
        "| network | % |\n| --- | --- |\n| LSTM, n = 10 | 99.90 ± 0.14 (99.92 ± 0.11) |\n| spectra | – |"
    )


def test_a_result_without_all_seeds_says_so_once_in_a_row() -> None:
    part = Result(LSTM.id, RESULT.command, RESULT.runs[:1], quick=False, files={})
    rows = [
        ["{palindromes-lstm-10} ({palindromes-lstm-10 published})", "{palindromes-lstm-10 solved_at each}"],
        ["{palindromes-lstm-10}", "{palindromes-lstm-10 seeds}"],
    ]
    assert render(Table("a", "palindromes", ["a", "b"], rows), CLAIMS, {LSTM.id: part}).splitlines()[2:] == [
        "| 99.80 (1 of 2 seeds) (99.92 ± 0.11) | 210 |",
        "| 99.80 | 40 (1 of 2) |",
    ]


def test_cells_of_benchmarks(own_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "BENCHMARKS", own_folder)
    (own_folder / "time.csv").write_text("shape,cell,ms\n1,GRU,7\n1,RNN,8\n2,GRU,9\n")
    rows = [["GRU", "{time | 1 | GRU | ms}"], ["RNN", "{time | 1 | RNN | ms}"]]
    assert render(Table("a", "book", ["cell", "ms"], rows), {}, {}).endswith("| GRU | 7 |\n| RNN | 8 |")
    for wrong in ("{time | 1 | ms}", "{time | 1 | GRU | s}"):
        with pytest.raises(UserError, match=r"time\.csv"):
            render(Table("a", "book", ["ms"], [[wrong]]), {}, {})


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        ('[LSTM, "{palindromes-lstm-1}"]', "there is no claim palindromes-lstm-1; did you mean 'palindromes-lstm-10'?"),
        ('[LSTM, "99.9"]', "a row has no placeholder for a result"),
        ('["{spectra}"]', "a row has 1 cells, and the table 2 columns"),
    ],
)
def test_mistakes_in_a_table_are_one_line(row: str, problem: str, own_folder: Path) -> None:
    (own_folder / "t.yaml").write_text(f"- {{name: a, part: book, columns: [network, '%'], rows: [{row}]}}\n")
    with pytest.raises(UserError) as error:
        load_tables(CLAIMS, own_folder / "t.yaml")
    assert str(error.value).startswith(f"t.yaml: a: {problem}")


def test_the_tables_of_the_study_fit_its_claims() -> None:
    assert load_tables({claim.id: claim for claim in load()})


@pytest.mark.parametrize(
    ("value", "shown"), [(0.256, "0.256"), (39013.0, "39013.000"), (2.09e13, "2.1e+13"), (2e-15, "2e-15")]
)
def test_large_and_small_numbers_are_short(value: float, shown: str) -> None:
    assert spread([value], _digits([value], percent=False)) == shown
