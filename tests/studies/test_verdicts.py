"""Whether stored results hold, and how long they took."""

import json
from pathlib import Path

from studies.results import Result, command, read_results, store_analysis, store_runs
from studies.verdicts import cpu_minutes, verdict
from tests.studies.small_results import LSTM, SPECTRA, analysis_folder, run_folder

OUT = Path("results")


def test_verdicts(own_folder: Path) -> None:
    assert verdict(LSTM, None) == "not run"
    for number, (accuracy, quick, expected) in enumerate(
        [(1.0, False, "holds"), (0.99, False, "differs"), (1.0, True, "quick run")]
    ):
        folders = {seed: run_folder(own_folder / f"{number}" / str(seed), accuracy) for seed in (40, 42)}
        store_runs(OUT / f"{number}", LSTM, folders, quick)
        assert verdict(LSTM, read_results(OUT / f"{number}")[LSTM.id]) == expected


def test_a_number_that_a_run_lacks_does_not_hold(own_folder: Path) -> None:
    store_analysis(OUT, SPECTRA, analysis_folder(own_folder / "a"))
    assert verdict(SPECTRA, read_results(OUT)["spectra"]) == "holds"
    (own_folder / "a" / "summary.json").write_text(json.dumps({"ratio": None}))
    store_analysis(OUT, SPECTRA, own_folder / "a")
    assert verdict(SPECTRA, read_results(OUT)["spectra"]) == "differs"


def test_cpu_minutes_are_those_of_stored_runs() -> None:
    def result(*seconds: float | None, quick: bool = False) -> Result:
        runs = [{"seed": 40 + k, "summary": {"cpu_seconds": value}} for k, value in enumerate(seconds)]
        return Result(LSTM.id, command(LSTM), runs, quick, {})

    assert cpu_minutes(LSTM, result(60, 180)) == 4
    assert cpu_minutes(LSTM, result(60)) == 2, "the other seed is taken to be as long"
    assert cpu_minutes(LSTM, result(60, None)) == 2, "the other ran on a GPU"
    assert [cpu_minutes(LSTM, each) for each in (None, result(None), result(60, quick=True))] == [None] * 3
    analysed = Result(SPECTRA.id, command(SPECTRA), [{"seed": None, "summary": {"cpu_seconds": 3}}], False, {})
    assert cpu_minutes(SPECTRA, analysed) == 0.05
