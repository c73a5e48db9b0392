"""study.py: runs as processes, finished ones kept, failed ones reported."""

import json
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

import study
from lightning_modules.run_files import read_metrics
from studies.runs import plan
from tests.conftest import SUMMARY, finish, refusals

Start = Callable[..., subprocess.Popen[str]]
RUNS = Path("runs/palindrome_lstm")


@refusals(
    {
        "--only poems": "--only: 'poems' is neither a part (recurrent, palindromes, book, graphs, texts) nor a claim",
        "--list --only palindrome": (
            "--only: 'palindrome' is neither a part (recurrent, palindromes, book, graphs, texts) nor a claim; "
            "did you mean 'palindromes'?"
        ),
        "--config palindrome_lstm.yaml --name ../x": "argument --name: '../x' is not the name of one folder",
        "--config palindrome_lstm.yaml --name ..": "argument --name: '..' is not the name of one folder",
        "--config palindrome_lstm.yaml --name .": "argument --name: '.' is not the name of one folder",
        "--config palindrome_lstm.yaml --name=": "argument --name: '' is not the name of one folder",
        "--config palindrome_lstm.yaml --name /x": "argument --name: '/x' is not the name of one folder",
        "--config palindrome_lstm.yaml --name a:b": (
            "argument --name: 'a:b' is not valid on every file system; 'a-b-6783a31e' would be"
        ),
        "--config palindrome_lstm.yaml --jobs 0": "argument --jobs: '0' is not a whole number of 1 or more",
    }
)
def test_a_mistake_is_one_line(
    words: list[str], message: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["study.py", *words])
    try:
        status: object = study.main()
    except SystemExit as stop:
        status = stop.code
    assert status == 2
    assert capsys.readouterr().err == f"study.py: error: {message}\n"
    assert not any(Path().iterdir()), "nothing is written"


def test_a_list_ends_with_its_reader(start: Start) -> None:
    with start("--list", script="study.py", small=False) as process:
        assert process.stdout is not None
        process.stdout.close()  # as `head` does
        assert process.stderr is not None
        assert process.stderr.read() == ""
    assert process.returncode == 0


def finished_run(summary: str) -> list[str]:
    """Make the folder of a finished run with this summary.json; return the arguments of its study."""
    words = ["--config", "palindrome_lstm.yaml", "--seeds", "1"]
    finish(plan([words[1]], [1], [], [])[0], summary=summary)
    return words


@pytest.mark.parametrize(
    ("summary", "problem"),
    [
        ("", "Expecting value: line 1 column 1 (char 0)"),
        (json.dumps(SUMMARY)[:40], "Unterminated string starting at: line 1 column 32 (char 31)"),
        ("[1, 2]", "it holds a list instead of names with values"),
        ("[" * 100_000, "maximum recursion depth exceeded while decoding a JSON array from a unicode string"),
        (json.dumps({name: value for name, value in SUMMARY.items() if name != "accuracy"}), "accuracy is 'missing'"),
        (json.dumps({name: value for name, value in SUMMARY.items() if name != "solved_at"}), "solved_at is 'missing'"),
        (json.dumps(SUMMARY | {"steps_per_second": "fast"}), "steps_per_second is 'fast'"),
        (json.dumps(SUMMARY | {"test/loss": None}), "test/loss is None"),
    ],
)
def test_a_damaged_summary_is_one_line(
    summary: str, problem: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["study.py", *finished_run(summary)])
    assert study.main() == 2
    line = f"{RUNS}/version_0/summary.json is damaged ({problem}); remove that file and run the same command again"
    assert capsys.readouterr().err == f"study.py: error: {line}\n"
    assert not Path("runs/study").exists()


def test_damaged_metrics_leave_no_half_of_a_report(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["study.py", *finished_run(json.dumps(SUMMARY))])
    (RUNS / "version_0" / "metrics.csv").write_text("step,train/accuracy\n0,half\n")
    assert study.main() == 1
    assert capsys.readouterr().err.startswith(f"study.py: error: {RUNS}/version_0/metrics.csv is damaged")
    assert [path.name for path in Path("runs/study/palindrome_lstm").iterdir()] == ["logs"]


def test_a_finished_run_is_reported_and_left_as_it_is(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["study.py", *finished_run(json.dumps(SUMMARY))])
    before = {path: path.read_bytes() for path in (RUNS / "version_0").iterdir()}
    assert study.main() == 0
    assert "| palindrome_lstm | 1 | 75.000 | 25.000 | – | 10.0 |" in capsys.readouterr().out
    assert {path: path.read_bytes() for path in (RUNS / "version_0").iterdir()} == before


def test_a_study_from_start_to_table(start: Start) -> None:
    words = ("--seeds", "1", "2", "--trainer.max_steps", "4", "--jobs", "1")
    out, err = start(*words, script="study.py").communicate(timeout=180)
    assert err == ""
    row = re.search(r"\| palindrome_lstm \| 1 2 \| ([\d.]+) ± ([\d.]+) \|", out)
    assert row, out
    means = []
    for version in ("version_0", "version_1"):
        rows = read_metrics(RUNS / version / "metrics.csv")
        means.append(100 * sum(row["train/accuracy"] for row in rows) / 4)
    assert float(row[1]) == pytest.approx(sum(means) / 2, abs=1e-3)
    assert float(row[2]) == pytest.approx(abs(means[0] - means[1]) / 2**0.5, abs=1e-3), "n − 1"
    results = Path("runs/study/palindrome_lstm")
    assert "| palindrome_lstm | 1 2 |" in (results / "table.md").read_text()
    assert (results / "curves.png").read_bytes().startswith(b"\x89PNG")
    assert len(list((results / "logs").iterdir())) == 2

    shutil.rmtree(RUNS / "version_1")
    out, err = start(*words, script="study.py").communicate(timeout=180)
    assert "seed 1: finished before, runs/palindrome_lstm/version_0" in out
    assert "seed 2: finished in" in out
    assert len(list(RUNS.iterdir())) == 2, "finished runs are not repeated"


@pytest.mark.slow
def test_a_shorter_study_makes_runs_of_its_own(start: Start) -> None:
    words = ("--seeds", "1", "--vary", "trainer.max_steps", "4", "2", "--jobs", "1")
    process = start(*words, script="study.py")
    out, err = process.communicate(timeout=180)
    assert process.returncode == 0, out + err
    assert [len(read_metrics(RUNS / f"version_{k}" / "metrics.csv")) for k in (0, 1)] == [4, 2]
    assert "max_steps=4 | 1 |" in out
    assert "max_steps=2 | 1 |" in out


@pytest.mark.slow
def test_a_failed_run_is_named_and_stops_no_other(start: Start) -> None:
    words = ("--seeds", "1", "--trainer.max_steps", "2", "--vary", "model.network.embedding_size", "4", "4000000000000")
    process = start(*words, script="study.py")
    out, err = process.communicate(timeout=180)
    assert process.returncode == 1
    failure = re.search(r"failed: palindrome_lstm model.network.embedding_size=4000000000000 seed 1, see (\S+)", err)
    assert failure, out + err
    assert Path(failure[1]).stat().st_size > 0
    assert "embedding_size=4 | 1 |" in out


@pytest.mark.parametrize(
    ("signum", "status"), [(signal.SIGTERM, 143), pytest.param(signal.SIGINT, 130, marks=pytest.mark.slow)]
)
def test_an_interrupted_study_goes_on(signum: int, status: int, start: Start) -> None:
    words = ("--seeds", "1", "--trainer.max_steps", "250", "--checkpoints.every_n_steps", "10")
    process = start(*words, script="study.py")
    deadline = time.monotonic() + 120
    while len(read_metrics(RUNS / "version_0" / "metrics.csv")) < 10 and time.monotonic() < deadline:
        time.sleep(0.02)
    for _ in range(2):  # a second signal does not keep the run from saving
        os.killpg(process.pid, signum)  # as a terminal's Ctrl-C does
        time.sleep(0.1)
    out, err = process.communicate(timeout=60)
    assert process.returncode == status, out + err
    assert "continues from here" in err
    assert "failed" not in out + err
    assert "Traceback" not in out + err
    done = len(read_metrics(RUNS / "version_0" / "metrics.csv"))
    assert 10 <= done < 250
    out, err = start(*words, script="study.py").communicate(timeout=180)
    assert "finished in" in out, out + err
    assert [row["step"] for row in read_metrics(RUNS / "version_0" / "metrics.csv")] == list(range(250))
    assert [path.name for path in RUNS.iterdir()] == ["version_0"]


@pytest.mark.slow
def test_eight_varied_settings_have_names_short_enough(start: Start) -> None:
    varied = {
        "trainer.max_steps": "2",
        "trainer.gradient_clip_val": "9.5",
        "trainer.enable_progress_bar": "false",
        "model.learning_rate": "0.0123",
        "model.network.dropout": "0.25",
        "model.network.layer": "kernels.GRU",
        "model.network.hidden_size": "16",
        "trainer.default_root_dir": "./elsewhere/with:a/long/path" + 5 * "/and/more/of/it",
    }
    words = [word for key, value in varied.items() for word in ("--vary", key, value)]
    process = start("--seeds", "1", *words, script="study.py")
    out, err = process.communicate(timeout=180)
    assert (process.returncode, err) == (0, ""), out
    (log,) = Path(varied["trainer.default_root_dir"]).glob("runs/study/palindrome_lstm/logs/*")
    assert re.fullmatch(r"palindrome_lstm_trainer.max_steps=2_trainer.gradient_clip_val=9.*_seed_1\.log", log.name)
    assert len(log.name) < 143
    assert "| palindrome_lstm trainer.max_steps=2 " in out


@pytest.mark.slow
def test_the_runs_of_a_killed_study_stop_and_go_on(start: Start) -> None:
    words = ("--seeds", "1", "2", "--jobs", "2", "--trainer.max_steps", "800", "--checkpoints.every_n_steps", "100000")
    process = start(*words, script="study.py")
    runs = [RUNS / "version_0", RUNS / "version_1"]
    deadline = time.monotonic() + 120
    while any(len(read_metrics(run / "metrics.csv")) < 10 for run in runs) and time.monotonic() < deadline:
        time.sleep(0.02)
    process.kill()
    process.communicate(timeout=60)
    process = start(*words, script="study.py")  # at once
    out, err = process.communicate(timeout=180)
    assert (process.returncode, err) == (0, ""), out
    assert {path.name for path in RUNS.iterdir()} == {"version_0", "version_1"}
    for run in runs:
        assert [row["step"] for row in read_metrics(run / "metrics.csv")] == list(range(800))
    logs = [log.read_text() for log in Path("runs/study/palindrome_lstm/logs").iterdir()]
    starts = [re.search(r"from step (\d+)", log) for log in logs]
    assert all(begin is not None and 10 <= int(begin[1]) < 800 for begin in starts), "saved when the study was killed"


@pytest.mark.slow
def test_a_killed_run_is_named_and_goes_on_with_the_same_command(start: Start) -> None:
    words = ("--seeds", "1", "2", "--jobs", "2", "--trainer.max_steps", "600", "--checkpoints.every_n_steps", "10")
    process = start(*words, script="study.py")
    runs = [RUNS / "version_0", RUNS / "version_1"]
    deadline = time.monotonic() + 120
    while any(len(read_metrics(run / "metrics.csv")) < 30 for run in runs) and time.monotonic() < deadline:
        time.sleep(0.02)
    killed = next(
        each
        for each in psutil.Process(process.pid).children(recursive=True)
        if "train.py" in " ".join(each.cmdline())
        and each.cmdline()[each.cmdline().index("--seed_everything") + 1] == "1"
    )
    killed.kill()
    out, err = process.communicate(timeout=300)
    assert process.returncode == 1, out + err
    assert re.search(r"failed: palindrome_lstm seed 1, see \S+seed_1\.log\n", err), err
    assert "seed 2: finished in" in out, "the other goes on"
    out, err = start(*words, script="study.py").communicate(timeout=300)
    assert "seed 1: finished in" in out, out + err
    assert "seed 2: finished before" in out
    assert {path.name for path in RUNS.iterdir()} == {"version_0", "version_1"}
    assert all([row["step"] for row in read_metrics(run / "metrics.csv")] == list(range(600)) for run in runs)
    begin = re.search(
        r"from step (\d+)", Path("runs/study/palindrome_lstm/logs/palindrome_lstm_seed_1.log").read_text()
    )
    assert begin is not None
    assert 10 <= int(begin[1]) < 600, "from its last checkpoint"
