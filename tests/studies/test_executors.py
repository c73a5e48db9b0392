"""The executors: processes on this machine that stop with the study; SLURM, where there is one."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from lightning_modules.errors import UserError
from lightning_modules.run_files import read_metrics
from studies.executors import LocalExecutor, SlurmExecutor
from studies.jobs import AnalysisJob

RUNS = Path("runs/palindrome_lstm")
Start = Callable[..., subprocess.Popen[str]]
SHOW = "import json, os, sys; print(json.dumps(dict(os.environ))); print(os.path.exists('a/.lock')); sys.exit(3)"


class Command:
    """A job that is one command."""

    minutes, log = None, "log"

    def __init__(self, code: str, locked: Path | None = None) -> None:
        self.words, self.locked = [sys.executable, "-c", code], locked

    def finished(self) -> Path | None:
        return None

    def in_use(self) -> Path | None:
        return None

    def command(self) -> list[str]:
        return self.words


def wait(condition: Callable[[], object], seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_job_has_its_own_cores_and_log_and_locks_its_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_NTASKS", "2")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5")
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr("os.cpu_count", lambda: 6)
    Path("a").mkdir()
    with LocalExecutor(Path("jobs"), slots=2) as executor:
        name = executor.submit(Command(SHOW, locked=Path("a")), Path("log"))
        assert executor.active() == {name: True}
        wait(lambda: not executor.active())
    variables, locked = Path("log").read_text().splitlines()
    found = json.loads(variables)
    assert (found["OMP_NUM_THREADS"], found["CUDA_VISIBLE_DEVICES"]) == ("3", "5")
    assert not [name for name in found if name.startswith(("SLURM_", "SUBMITIT_"))]
    assert locked == "True"
    assert not list(Path("jobs").iterdir()), "submitit's files are removed"


def test_another_checkout_in_the_current_folder_is_not_imported() -> None:
    for name in ("studies", "lightning_modules"):
        Path(name).mkdir()
        Path(name, "__init__.py").write_text("raise RuntimeError('this is another checkout')\n")
    analysis = AnalysisJob("a", "studies.durations", [], [], Path("a"), None)  # does nothing, so it starts at once
    with LocalExecutor(Path("jobs"), slots=1) as executor:
        name = executor.submit(analysis, Path("log"))
        wait(lambda: not executor.active())
        assert "Job completed successfully" in executor.output(name)
    assert Path("log").read_text() == ""


def test_what_a_job_prints_before_its_log_begins() -> None:
    with LocalExecutor(Path("jobs"), slots=1) as executor:
        name = executor.submit(Command(""), Path("no/log"))
        wait(lambda: not executor.active())
        assert "FileNotFoundError" in executor.output(name)
        assert executor.output("no job") == ""


def test_an_analysis_stops_with_the_study() -> None:
    Path("a").mkdir()
    before = os.fstat(0).st_ino
    with LocalExecutor(Path("jobs"), slots=1) as executor:
        executor.submit(Command("import time; print('begun', flush=True); time.sleep(600)", Path("a")), Path("log"))
        wait(lambda: Path("log").exists() and Path("log").read_text())
        executor.stop()
        assert not executor.active()
    assert os.fstat(0).st_ino == before, "standard input is restored"


def test_slurm_must_be_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda name: None)
    with (
        pytest.raises(UserError, match=r"--executor slurm needs SLURM's commands, and there is no sbatch here"),
        SlurmExecutor(Path("jobs"), 1, None),
    ):
        pass


def slurm_answers() -> bool:
    """Whether there is a SLURM here that has a node: with one of your own, set SLURM_CONF."""
    if shutil.which("sinfo") is None:
        return False
    listed = subprocess.run(["sinfo", "--noheader", "--format=%t"], capture_output=True, text=True, check=False)
    return listed.returncode == 0 and bool(re.search("idle|mix", listed.stdout))


@pytest.fixture
def slurm() -> None:
    if not slurm_answers():
        pytest.skip("there is no SLURM with an idle node here")


def queue() -> list[str]:
    return subprocess.run(
        ["squeue", "--noheader", "--me", "--format=%i"], capture_output=True, text=True
    ).stdout.split()


@pytest.mark.slow
@pytest.mark.usefixtures("slurm")
def test_a_study_on_slurm_and_a_job_that_is_cancelled(start: Start) -> None:
    words = ("--executor", "slurm", "--vary", "trainer.max_steps", "4", "1000000", "--seeds", "1")
    process = start(*words, script="study.py")
    wait(lambda: read_metrics(RUNS / "version_1" / "metrics.csv"), seconds=300)
    records = [json.loads(path.read_text()) for path in Path("runs/study/jobs").glob("*.json")]
    (name,) = [record["id"] for record in records if "1000000" in record["log"]]
    assert name in queue()
    subprocess.run(["scancel", name], check=True)
    out, err = process.communicate(timeout=300)
    assert process.returncode == 1, out + err
    assert re.search(r"failed: palindrome_lstm trainer.max_steps=1000000 seed 1, see \S+\.log", err)
    assert "max_steps=4 seed 1: finished in" in out
    assert "| palindrome_lstm trainer.max_steps=4 | 1 |" in out
    assert name not in queue()


@pytest.mark.slow
@pytest.mark.usefixtures("slurm")
def test_a_job_of_slurm_outlasts_a_killed_study_and_is_found_again(start: Start) -> None:
    words = ("--executor", "slurm", "--seeds", "1", "--trainer.max_steps", "600")
    process = start(*words, script="study.py")
    wait(lambda: read_metrics(RUNS / "version_0" / "metrics.csv"), seconds=300)
    (name,) = queue()
    process.kill()
    process.communicate(timeout=60)
    assert queue() == [name]
    subprocess.run(["scancel", "--signal=STOP", name], check=True)  # else it may end before it is found
    again = start(*words, script="study.py")
    assert again.stdout is not None
    wait(lambda: f"running, as job {name} of before" in again.stdout.readline(), seconds=300)
    subprocess.run(["scancel", "--signal=CONT", name], check=True)
    out, err = again.communicate(timeout=600)
    assert (again.returncode, err) == (0, "")
    assert "| palindrome_lstm | 1 |" in out
    assert len(read_metrics(RUNS / "version_0" / "metrics.csv")) == 600
    assert [path.name for path in RUNS.iterdir()] == ["version_0"]


@pytest.mark.slow
@pytest.mark.usefixtures("slurm")
def test_a_preempted_job_saves_and_goes_on(start: Start) -> None:
    words = ("--executor", "slurm", "--seeds", "1", "--trainer.max_steps", "1000")
    process = start(*words, "--checkpoints.every_n_steps", "100000", script="study.py")
    wait(lambda: len(read_metrics(RUNS / "version_0" / "metrics.csv")) > 10, seconds=300)
    (name,) = queue()
    subprocess.run(["scancel", f"--signal={signal.SIGUSR2.name}", name], check=True)  # as before a time limit
    out, err = process.communicate(timeout=900)
    assert (process.returncode, err) == (0, ""), out
    assert out.count("in the queue") == out.count("running, ") == 2
    assert [row["step"] for row in read_metrics(RUNS / "version_0" / "metrics.csv")] == list(range(1000))
    assert [path.name for path in RUNS.iterdir()] == ["version_0"]
    (log,) = Path("runs/study/palindrome_lstm/logs").iterdir()
    begin = re.search(r"from step (\d+)", log.read_text())
    assert begin is not None
    assert 10 <= int(begin[1]) < 1000, "saved when it was preempted"
