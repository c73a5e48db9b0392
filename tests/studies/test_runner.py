"""The runner: which jobs it starts, in which order, and what it says became of them."""

import threading
from pathlib import Path

import pytest

from lightning_modules.cli.run_folder import running
from studies.live import Display
from studies.runner import Runner, last_line
from studies.runs import plan
from tests.conftest import finish


class FakeJob:
    """A job whose files are made by the test."""

    minutes, locked, steps = 1.0, None, None

    def __init__(self, name: str, *needs: "FakeJob", done: bool = False) -> None:
        self.name, self.needs, self.done = name, needs, done
        self.log = f"{name}.log"

    def __str__(self) -> str:
        return self.name

    def finished(self) -> Path | None:
        return Path(self.name) if self.done else None

    def in_use(self) -> Path | None:
        return None

    def command(self) -> list[str]:
        return []


class FakeExecutor:
    """Ends each job at the second look; the jobs named in `failing` leave nothing but a log."""

    def __init__(self, slots: int = 1, lasting: bool = False, failing: dict[str, str] | None = None) -> None:
        self.slots, self.lasting, self.failing = slots, lasting, failing or {}
        self.started: list[str] = []
        self.jobs: dict[str, FakeJob] = {}
        self.interval = 0.01
        self.seen: list[str] = []
        self.stopped = False
        self.most = 0

    def submit(self, job: FakeJob, log: Path) -> str:
        self.started.append(job.name)
        self.jobs[f"id-{job.name}"] = job
        self.most = max(self.most, len(self.jobs))
        log.write_text(self.failing.get(job.name, ""))
        return f"id-{job.name}"

    def active(self) -> dict[str, bool]:
        for name in self.seen:
            job = self.jobs.pop(name)
            job.done = job.name not in self.failing
        self.seen = list(self.jobs)
        return dict.fromkeys(self.jobs, True)

    def output(self, name: str) -> str:
        return f"{name} could not be imported\n"

    def stop(self) -> None:
        self.stopped = True


def carry_out(executor: FakeExecutor, *jobs: FakeJob) -> dict[str, str]:
    runner = Runner(executor, Path("logs"), Path("records"), Display(executor.slots))
    return {task.job.name: task.state for task in runner.carry_out(list(jobs))}


def test_a_failed_job_stops_no_other_but_those_that_need_it(capsys: pytest.CaptureFixture[str]) -> None:
    good, bad = FakeJob("good"), FakeJob("bad")
    jobs = (FakeJob("analysis", good), FakeJob("other analysis", good, bad), bad, good, FakeJob("before", done=True))
    executor = FakeExecutor(failing={"bad": "error: it is broken"})
    states = carry_out(executor, *jobs)
    assert states == {
        "analysis": "finished", "other analysis": "left out", "bad": "failed", "good": "finished", "before": "finished",
    }  # fmt: skip
    assert executor.started == ["bad", "good", "analysis"]
    assert (executor.most, executor.stopped) == (1, True)
    out = capsys.readouterr().out
    assert "bad: failed, see logs/bad.log\n" in out
    assert "other analysis: left out, a run that it needs has not finished\n" in out
    assert "before: finished before, before\n" in out


def test_a_job_that_ends_before_its_log_begins_has_a_log_too() -> None:
    Path("logs").mkdir()
    Path("logs/a.log").write_text("of an earlier try\n")
    assert carry_out(FakeExecutor(failing={"a": ""}), FakeJob("a")) == {"a": "failed"}
    assert Path("logs/a.log").read_text() == "id-a could not be imported\n"


def test_several_at_a_time() -> None:
    executor = FakeExecutor(slots=2)
    assert set(carry_out(executor, *map(FakeJob, "abcde")).values()) == {"finished"}
    assert executor.most == 2


def test_a_run_without_its_data_is_told_from_a_failed_one() -> None:
    line = "train.py: error: there is no Cora; --data.download true fetches it\n\n"
    assert carry_out(FakeExecutor(failing={"a": line}), FakeJob("a")) == {"a": "no data"}


def test_a_job_that_outlasted_a_killed_study_is_found_again(capsys: pytest.CaptureFixture[str]) -> None:
    class Killed(Exception):
        pass

    class Kills(FakeExecutor):
        def active(self) -> dict[str, bool]:
            if self.jobs:
                raise Killed
            return {}

    first = Kills(lasting=True)
    job = FakeJob("a")
    with pytest.raises(Killed):
        carry_out(first, job)
    second = FakeExecutor(lasting=True)
    second.jobs = first.jobs
    assert carry_out(second, job) == {"a": "finished"}
    assert second.started == []
    assert "a: running, as job id-a of before, logs/a.log" in capsys.readouterr().out
    assert not list(Path("records").iterdir())


def test_a_run_in_use_is_waited_for(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """The process that runs it finishes it in the meantime."""
    runs = plan(["palindrome_lstm.yaml"], [1], [], [])
    folder = finish(runs[0])
    summary = folder / "summary.json"
    summary.rename("aside")

    def end() -> None:
        with running(folder):
            held.set()
            waited_for.wait(60)
            Path("aside").rename(summary)

    held, waited_for = threading.Event(), threading.Event()
    monkeypatch.setattr("studies.runner.time.sleep", lambda _: waited_for.set() or waited_for.wait(0.01))
    thread = threading.Thread(target=end)
    thread.start()
    held.wait(60)
    executor = FakeExecutor()
    (task,) = Runner(executor, Path("logs"), Path("records"), Display(1)).carry_out(list(runs))
    thread.join(60)
    assert (task.state, task.folder, executor.started) == ("finished", folder, [])
    out = capsys.readouterr().out
    assert f"seed 1: waiting for {folder}, which another process is running\n" in out
    assert f"seed 1: finished before, {folder}" in out


def test_the_last_line_of_a_log() -> None:
    Path("log").write_text("first\nsecond \n\n")
    assert last_line(Path("log")) == "second"
    Path("log").write_text("x" * 10_000)
    assert last_line(Path("log")) == "x" * 4000
    assert last_line(Path("no log")) == ""
