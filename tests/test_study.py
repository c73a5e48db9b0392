"""study.py: runs as processes, finished ones kept, failed ones named."""

import json
import os
import re
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

import study
from lightning_modules.callbacks.metrics_csv import read_metrics
from lightning_modules.cli.run_folder import is_running, running
from lightning_modules.errors import UserError
from lightning_modules.study_report import primary_metric_of
from tests.conftest import SMALL

Start = Callable[..., subprocess.Popen[str]]
RUNS = Path("runs/palindrome_lstm")


def test_plan_is_the_product_of_configs_settings_and_seeds() -> None:
    configs = ["palindrome_lstm.yaml", "palindrome_rnn.yaml"]
    runs = study.plan(configs, [40, 42], [["data.length", "4", "6"]], ["--trainer.max_steps", "5"])
    assert len(runs) == 8
    first = runs[0]
    assert str(first) == "palindrome_lstm data.length=4 seed 40"
    assert first.folder == RUNS
    assert first.settings["data"]["init_args"]["length"] == 4
    assert first.settings["trainer"]["max_steps"] == 5
    assert first.settings["seed_everything"] == 40


def test_every_run_has_a_log_of_its_own() -> None:
    runs = study.plan(["palindrome_lstm.yaml"], [1, 2], [["trainer.default_root_dir", "a b", "a_b"]], [])
    assert len({run.log for run in runs}) == 4
    assert runs[0].log == "palindrome_lstm_trainer.default_root_dir=a b_seed_1.log"


def test_plan_refuses_what_train_would_refuse() -> None:
    with pytest.raises(UserError, match=r"there is no 'nothing\.yaml'"):
        study.plan(["nothing.yaml"], [1], [], [])
    with pytest.raises(UserError, match="a key and at least one value"):
        study.plan(["palindrome_lstm.yaml"], [1], [["data.length"]], [])
    with pytest.raises(UserError, match="--ckpt_path is not for a study: interrupted runs go on by themselves"):
        study.plan(["palindrome_lstm.yaml"], [1], [], ["--ckpt_path=last"])


def test_a_seed_of_the_data_makes_another_run(own_folder: Path) -> None:
    plain, given, other = (
        study.plan(["palindrome_lstm.yaml"], [1], [], words)[0]
        for words in ([], ["--data.seed", "7"], ["--data.seed", "8"])
    )
    for number, run in enumerate((plain, given)):
        folder = own_folder / RUNS / f"version_{number}"
        folder.mkdir(parents=True)
        (folder / "config.yaml").write_text(yaml.safe_dump(run.settings))
        (folder / "summary.json").write_text(json.dumps(WHOLE))
    assert plain.finished() == RUNS / "version_0"
    assert given.finished() == RUNS / "version_1"
    assert other.finished() is None


def test_a_study_of_another_quantity_than_accuracy(own_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runs = study.plan(["palindrome_lstm.yaml"], [1, 2], [], [])
    folders = {run: own_folder / str(run.seed) for run in runs}
    for run, folder in folders.items():
        folder.mkdir()
        summary = {"primary_metric": "rmse", "test/rmse": run.seed / 4, "steps_per_second": 2}
        (folder / "summary.json").write_text(json.dumps(summary))
        (folder / "metrics.csv").write_text("step,train/rmse\n0,2.5\n1,1.5\n")
    study.report(folders, own_folder)
    assert "| setting | seeds | test/rmse | steps/s |" in capsys.readouterr().out
    assert "| palindrome_lstm | 1 2 | 0.375 ± 0.177 | 2.0 |" in (own_folder / "table.md").read_text()
    assert primary_metric_of(own_folder / "1") == "rmse"


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ((), "the following arguments are required: --config"),
        (
            ("--config", "palindrome_lstm.yaml", "--name", "../x"),
            "argument --name: '../x' is not the name of one folder",
        ),
        (("--config", "palindrome_lstm.yaml", "--name", ".."), "argument --name: '..' is not the name of one folder"),
        (("--config", "palindrome_lstm.yaml", "--name", "."), "argument --name: '.' is not the name of one folder"),
        (("--config", "palindrome_lstm.yaml", "--name="), "argument --name: '' is not the name of one folder"),
        (("--config", "palindrome_lstm.yaml", "--name", "/x"), "argument --name: '/x' is not the name of one folder"),
        (
            ("--config", "palindrome_lstm.yaml", "--name", "a:b"),
            "argument --name: 'a:b' is not a name for every file system; 'a-b-6783a31e' would be",
        ),
        (("--config", "palindrome_lstm.yaml", "--jobs", "0"), "argument --jobs: '0' is not a positive number"),
    ],
)
def test_a_mistake_is_one_line(
    words: tuple[str, ...], line: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["study.py", *words])
    with pytest.raises(SystemExit) as stop:
        study.main()
    assert stop.value.code == 2
    assert capsys.readouterr().err == f"study.py: error: {line}\n"
    assert not any(Path().iterdir()), "nothing is written"


def finished_run(summary: str) -> list[str]:
    """Make the folder of a run that has finished, with this summary.json; return the words of its study."""
    words = ["--config", "palindrome_lstm.yaml", "--seeds", "1"]
    run = RUNS / "version_0"
    run.mkdir(parents=True)
    (run / "config.yaml").write_text(yaml.safe_dump(study.plan([words[1]], [1], [], [])[0].settings))
    (run / "metrics.csv").write_text("step,train/accuracy\n0,0.5\n1,1.0\n")
    (run / "summary.json").write_text(summary)
    return words


WHOLE = {"steps": 2, "primary_metric": "accuracy", "accuracy": 0.75, "solved_at": None, "steps_per_second": 10.0}


@pytest.mark.parametrize(
    ("summary", "problem"),
    [
        ("", "Expecting value: line 1 column 1 (char 0)"),
        (json.dumps(WHOLE)[:40], "Unterminated string starting at: line 1 column 38 (char 37)"),
        ("[1, 2]", "it holds list, no names with values"),
        ("[" * 100_000, "maximum recursion depth exceeded while decoding a JSON array from a unicode string"),
        (json.dumps({name: value for name, value in WHOLE.items() if name != "accuracy"}), "accuracy is 'missing'"),
        (json.dumps({name: value for name, value in WHOLE.items() if name != "solved_at"}), "solved_at is 'missing'"),
        (json.dumps(WHOLE | {"steps_per_second": "fast"}), "steps_per_second is 'fast'"),
        (json.dumps(WHOLE | {"test/loss": None}), "test/loss is None"),
    ],
)
def test_a_damaged_summary_is_one_line(
    summary: str, problem: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["study.py", *finished_run(summary)])
    assert study.main() == 2
    line = f"{RUNS}/version_0/summary.json is damaged ({problem}); remove that file, and the same command makes it anew"
    assert capsys.readouterr().err == f"study.py: error: {line}\n"
    assert not Path("runs/study").exists()


def test_damaged_metrics_leave_no_half_of_a_report(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["study.py", *finished_run(json.dumps(WHOLE))])
    (RUNS / "version_0" / "metrics.csv").write_text("step,train/accuracy\n0,half\n")
    assert study.main() == 1
    assert capsys.readouterr().err.startswith(f"study.py: error: {RUNS}/version_0/metrics.csv is damaged")
    assert [path.name for path in Path("runs/study/palindrome_lstm").iterdir()] == ["logs"]


def test_a_finished_run_is_reported_and_left_as_it_is(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["study.py", *finished_run(json.dumps(WHOLE))])
    before = {path: path.read_bytes() for path in (RUNS / "version_0").iterdir()}
    assert study.main() == 0
    assert "| palindrome_lstm | 1 | 75.000 | 25.000 | – | 10.0 |" in capsys.readouterr().out
    assert {path: path.read_bytes() for path in (RUNS / "version_0").iterdir()} == before


def test_a_study_from_start_to_table(start: Start) -> None:
    words = ("--seeds", "1", "2", "--trainer.max_steps", "4")
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


def test_a_run_stopped_after_its_last_step_is_picked_up(train: Callable[..., tuple[int, str, str]]) -> None:
    words = ("--trainer.max_steps", "2", "--seed_everything", "3")
    assert train(*words)[0] == 0
    run = study.Run([], 3, [*SMALL, *words])
    assert run.finished()
    (RUNS / "version_0" / "summary.json").unlink()
    assert run.interrupted()
    assert train(*words, "--ckpt_path", "last")[0] == 0
    assert run.finished() == RUNS / "version_0"


@pytest.mark.slow
def test_a_shorter_study_makes_runs_of_its_own(start: Start) -> None:
    words = ("--seeds", "1", "--vary", "trainer.max_steps", "4", "2")
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
    os.killpg(process.pid, signum)  # as a terminal's Ctrl-C does
    out, err = process.communicate(timeout=60)
    assert process.returncode == status, out + err
    assert "goes on from here" in err
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


def test_a_run_in_use_is_waited_for(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """The process that runs it finishes it in the meantime."""
    words = finished_run(json.dumps(WHOLE))
    summary = RUNS / "version_0" / "summary.json"
    summary.rename("aside")
    monkeypatch.setattr("sys.argv", ["study.py", *words])

    def finish() -> None:
        with running(RUNS / "version_0"):
            held.set()
            said.wait(60)
            Path("aside").rename(summary)

    held, said = threading.Event(), threading.Event()
    monkeypatch.setattr(study, "is_running", lambda run: (is_running(run), said.set())[0])
    thread = threading.Thread(target=finish)
    thread.start()
    held.wait(60)
    assert study.main() == 0
    thread.join(60)
    out = capsys.readouterr().out
    assert f"seed 1: waiting for {RUNS}/version_0, which another process is running\n" in out
    assert f"seed 1: finished before, {RUNS}/version_0" in out


def test_a_task_without_accuracy_is_told_by_its_loss_and_its_test_figures(
    own_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    finished = {}
    for run in study.plan(["knowledge_graph.yaml"], [1, 2], [], []):
        folder = own_folder / str(run.seed)
        folder.mkdir()
        (folder / "metrics.csv").write_text(f"step,train/loss\n0,{5 + run.seed}\n1,4.0\n")
        (folder / "summary.json").write_text(f'{{"test/mrr": 0.{run.seed}, "steps_per_second": 10}}')
        finished[run] = folder
    study.report(finished, own_folder)
    assert "| knowledge_graph | 1 2 | 0.150 ± 0.071 | 10.0 |" in capsys.readouterr().out
    assert (own_folder / "curves.png").read_bytes().startswith(b"\x89PNG")


def test_classes_are_named_by_the_last_part_of_their_path() -> None:
    assert study.short_names(["kernels.GRU", "kernels.LSTM", "0.5"]) == {
        "kernels.GRU": "GRU", "kernels.LSTM": "LSTM", "0.5": "0.5",
    }  # fmt: skip
    assert study.short_names(["torch.nn.LSTM", "kernels.LSTM"])["kernels.LSTM"] == "kernels.LSTM", "two of one name"
