"""What a study shows while it runs."""

import io
from pathlib import Path

import pytest
from rich.console import Console

from studies import live
from studies.durations import duration
from studies.live import Display, last_step
from studies.runner import Task
from studies.runs import plan
from tests.studies.test_runner import FakeJob


def shown(display: Display, tasks: list[Task]) -> str:
    console = Console(file=io.StringIO(), width=110)
    console.print(display.table(tasks))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_the_table_has_state_steps_and_time_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live.time, "monotonic", lambda: now)
    runs = plan(["palindrome_lstm.yaml"], [1, 2], [], [])
    for run in runs:
        run.minutes = 30
    folder = Path("run")
    folder.mkdir()
    running, waiting = (Task(run, Path("log")) for run in runs)
    failed = Task(FakeJob("bad"), Path("log"), "failed")
    tasks = [running, waiting, failed, Task(FakeJob("done"), Path("log"), "finished")]
    display = Display(slots=1, console=Console(file=io.StringIO(), force_terminal=True, width=110))
    now = 100.0
    running.state, running.begun, running.folder = "running", 100.0, folder
    (folder / "metrics.csv").write_text("step,train/loss\n0,1.0\n")
    with display:
        display.looked(tasks)
        now = 200.0
        (folder / "metrics.csv").write_text("step,train/loss\n0,1.0\n500,0.5\n501,")
        display.looked(tasks)
    lines = [" ".join(line.split()) for line in shown(display, tasks).splitlines()]
    assert lines == [
        "1 of 4 finished, 1 under way, 1 waiting, 1 failed, about 38 min left",
        "run state steps time left",
        "palindrome_lstm seed 1 running 501 of 3000 8 min",  # 2499 steps at 5 a second
        "bad failed",
    ]


def test_what_takes_longer_than_before_has_no_time_left_that_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live.time, "monotonic", lambda: 161.0)
    task = Task(FakeJob("a"), Path("log"), "running", begun=101.0)  # a minute, as its job says
    display = Display(slots=1, console=Console(file=io.StringIO(), force_terminal=True, width=110))
    assert "left" not in shown(display, [task]).splitlines()[0]
    task.begun = 131.0
    assert "about 30 s left" in shown(display, [task]).splitlines()[0]


def test_a_line_for_each_change_where_there_is_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    with Display(slots=1) as display:
        for state, note in (("running", "a.log"), ("finished", "in 3 s, runs/a"), ("failed", "a.log")):
            display.changed(Task(FakeJob("a"), Path("a.log"), state, note=note))
        display.looked([])
    assert capsys.readouterr().out == "a: running, a.log\na: finished in 3 s, runs/a\na: failed, see a.log\n"


def test_the_last_step_of_a_metrics_file() -> None:
    path = Path("metrics.csv")
    assert last_step(path) is None
    path.write_text("step,train/loss\n")
    assert last_step(path) is None
    path.write_text("train/loss,step\n" + "".join(f"0.5,{step}\n" for step in range(3000)) + "0.5,30")
    assert last_step(path) == 3000


def test_durations_are_short() -> None:
    assert [duration(seconds) for seconds in (49.6, 720, 12_000)] == ["50 s", "12 min", "3 h 20 min"]
