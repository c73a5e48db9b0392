"""A results folder: what is stored of runs and analyses."""

import csv
from pathlib import Path

import pytest

from lightning_modules.errors import UserError
from studies.results import command, facts, read_results, store_analysis, store_runs
from studies.stored_curves import thinned
from studies.verdicts import values_of, verdict
from tests.studies.small_results import ENVIRONMENT, LSTM, SPECTRA, analysis_folder, run_folder

OUT = Path("results")


def test_commands_name_every_setting() -> None:
    assert command(LSTM) == (
        "python study.py --config palindrome_lstm.yaml --seeds 40 42 --data.length 10 --model.network.layer kernels.GRU"
    )
    assert command(SPECTRA) == "python -m studies.spectra --steps 40 --out FOLDER"


def test_runs_are_stored_with_their_curves(own_folder: Path) -> None:
    folders = {42: run_folder(own_folder / "42"), 40: run_folder(own_folder / "40", accuracy=0.998)}
    store_runs(OUT, LSTM, folders)
    result = read_results(OUT)[LSTM.id]
    assert (result.seeds, result.command, result.quick) == ([40, 42], command(LSTM), False)
    assert values_of(LSTM, result) == pytest.approx([99.8, 100])
    assert result.runs[0]["summary"]["environment"] == ENVIRONMENT
    assert result.runs[1]["summary"]["std_over_iterations"] == pytest.approx(0.5 * (0.6 * 0.4) ** 0.5)
    assert (result.runs[1]["summary"]["reached"], result.runs[1]["summary"]["plateau"]) == (650, 0.5)
    with (OUT / "data" / f"{LSTM.id}.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["iteration", "train/accuracy 42", "train/accuracy 40"], "loss is not drawn"
    assert [row["iteration"] for row in rows][::100] == ["5", "505"]
    assert rows[-1] == {"iteration": "1000", "train/accuracy 42": "1", "train/accuracy 40": "0.998"}


def test_seeds_that_ran_elsewhere_are_kept(own_folder: Path) -> None:
    store_runs(OUT, LSTM, {40: run_folder(own_folder / "40", accuracy=0.9)})
    assert verdict(LSTM, read_results(OUT)[LSTM.id]) == "not all seeds"
    store_runs(OUT, LSTM, {42: run_folder(own_folder / "42")})
    assert values_of(LSTM, read_results(OUT)[LSTM.id]) == [90, 100]
    head = (OUT / "data" / f"{LSTM.id}.csv").read_text().splitlines()[0]
    assert head == "iteration,train/accuracy 40,train/accuracy 42"


def test_a_quick_run_replaces_no_result(own_folder: Path) -> None:
    folders = {42: run_folder(own_folder / "42")}
    store_runs(OUT, LSTM, folders, quick=True)
    store_runs(OUT, LSTM, {40: run_folder(own_folder / "40")})
    assert read_results(OUT)[LSTM.id].seeds == [40], "a quick run is no part of it"
    with pytest.raises(UserError, match="results of whole runs; give a quick study another --out"):
        store_runs(OUT, LSTM, folders, quick=True)
    store_analysis(OUT, SPECTRA, analysis_folder(own_folder / "a"))
    with pytest.raises(UserError, match="results of whole runs"):
        store_analysis(OUT, SPECTRA, own_folder / "a", quick=True)


def test_an_analysis_is_stored_with_its_files(own_folder: Path) -> None:
    store_analysis(OUT, SPECTRA, analysis_folder(own_folder / "a"))
    result = read_results(OUT)["spectra"]
    assert (result.seeds, result.numbers("ratio")) == ([], [0.01])
    assert sorted(result.files) == ["spectra.csv", "spectra.md", "spectra.png"]
    assert (OUT / "spectra.png").is_file()
    assert (OUT / "data" / "spectra.md").read_text().startswith("| radius")


def test_held_out_numbers_come_from_the_last_validation(own_folder: Path) -> None:
    folder = run_folder(own_folder / "40", steps=2)
    (folder / "metrics.csv").write_text("step,train/accuracy,val/loss\n0,0.5,\n0,,3.0\n1,1.0,\n1,,2.0\n")
    assert facts(folder)["val/loss"] == 2
    columns = thinned({40: folder}, ("train/accuracy", "val/loss", "val/accuracy"))
    assert columns == {"iteration": [1, 2], "train/accuracy 40": [0.5, 1], "val/loss 40": [3, 2]}


def test_damaged_files_are_one_line(own_folder: Path) -> None:
    (OUT / "data").mkdir(parents=True)
    (OUT / "data" / "a.json").write_text('{"claim": "a"}')
    with pytest.raises(UserError, match=r"a\.json is damaged"):
        read_results(OUT)
    (OUT / "data" / "a.json").write_text('{"claim": "a", "command": "", "runs": ["x"], "quick": false, "files": {}}')
    with pytest.raises(UserError, match=r"a\.json is damaged \(a run has no seed or no summary\)"):
        read_results(OUT)
    (OUT / "data" / "a.json").write_text("{")
    with pytest.raises(UserError, match=r"a\.json is damaged"):
        read_results(OUT)
