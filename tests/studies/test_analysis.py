"""The command line of an analysis, and the files that it leaves."""

import json
from pathlib import Path

import pytest

from lightning_modules.errors import UserError
from studies.analysis import (
    analysis_parser,
    markdown_table,
    prepare_folder,
    read_csv,
    settings_of,
    write_csv,
    write_summary,
)
from studies.runs import plan
from tests.conftest import finish


def test_options_of_every_analysis(capsys: pytest.CaptureFixture[str]) -> None:
    parser = analysis_parser("spectra", "what it does", reads_runs=True)
    parser.add_argument("--steps", type=int, default=3)
    options = parser.parse_args(["--out", "a", "--runs", "b", "c"])
    assert (options.out, options.runs, options.steps) == (Path("a"), [Path("b"), Path("c")], 3)
    with pytest.raises(SystemExit, match="2"):
        parser.parse_args([])
    assert "studies.spectra: error: the following arguments are required: --out, --runs" in capsys.readouterr().err
    with pytest.raises(SystemExit, match="2"):
        analysis_parser("counts", "what it does").parse_args(["--out", "a", "--runs", "b"])
    assert "studies.counts: error: unrecognized arguments: --runs b" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["", "iteration,a\n", "iteration,a\n1\n", "iteration,iteration,a\n1,2\n"])
def test_a_damaged_table_is_one_line(own_folder: Path, text: str) -> None:
    path = own_folder / "curves.csv"
    path.write_text(text)
    with pytest.raises(UserError, match=r"curves\.csv is damaged \(.*\); remove it and run the study again"):
        read_csv(path)


def test_the_summary_has_numbers_and_where_they_were_made(own_folder: Path) -> None:
    prepare_folder(own_folder / "a" / "b")
    write_summary(own_folder / "a" / "b", {"ratio": 0.5, "solved_at": None, "steps": 3})
    facts = json.loads((own_folder / "a" / "b" / "summary.json").read_text())
    assert facts.pop("environment")["python"]
    assert facts.pop("cpu_seconds") > 0
    assert facts == {"ratio": 0.5, "solved_at": None, "steps": 3}
    prepare_folder(own_folder / "a" / "b")
    assert not (own_folder / "a" / "b" / "summary.json").exists(), "it is an analysis that has not ended again"
    with pytest.raises(ValueError, match="no finite numbers: ratio"):
        write_summary(own_folder, {"ratio": float("nan"), "steps": 3})


def test_a_folder_that_cannot_be_made_is_one_line(own_folder: Path) -> None:
    (own_folder / "file").write_text("")
    with pytest.raises(UserError, match="cannot make the folder"):
        prepare_folder(own_folder / "file" / "out")


def test_curves_keep_six_digits(own_folder: Path) -> None:
    write_csv(own_folder / "a.csv", {"step": [1, 2], "loss": [1 / 3, 2e-9], "cell": ["LSTM", "RNN, tanh"]})
    assert (own_folder / "a.csv").read_text() == 'step,loss,cell\n1,0.333333,LSTM\n2,2e-09,"RNN, tanh"\n'
    with pytest.raises(ValueError, match="shorter"):
        write_csv(own_folder / "a.csv", {"step": [1, 2], "loss": [1.0]})


def test_a_table_in_markdown() -> None:
    assert markdown_table([{"n": 10, "%": "99.9"}, {"n": 20, "%": "–"}]) == (
        "| n | % |\n| --- | --- |\n| 10 | 99.9 |\n| 20 | – |"
    )
    assert markdown_table([{"": "", "text": "a  b"}]).splitlines()[2] == "| | a  b |", "spaces of a cell stay"


def test_settings_of_a_run() -> None:
    folder = finish(plan(["palindrome_lstm.yaml"], [1], [], ["--data.length", "4"])[0])
    settings = settings_of(folder)
    assert settings["data.init_args.length"] == 4
    assert settings["seed_everything"] == 1
    (folder / "config.yaml").unlink()
    with pytest.raises(UserError, match=r"cannot read .*config"):
        settings_of(folder)
