"""What a terminal shows, and what a log shows."""

from types import SimpleNamespace

import pytest
from rich.console import Console

from lightning_modules.callbacks.progress import StepProgress


def trainer(step: int, total: float = 40) -> SimpleNamespace:
    metrics = {"train/loss": 0.25, "train/accuracy": 0.5}
    return SimpleNamespace(global_step=step, estimated_stepping_batches=total, progress_bar_metrics=metrics)


def test_lines_without_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    progress = StepProgress(line_seconds=0.0)
    progress.on_train_start(trainer(0), None)
    progress.on_step_end(trainer(7), None)
    out = capsys.readouterr().out
    assert out.startswith("step 7/40  train/loss 0.2500  train/accuracy 0.5000  ")
    assert out.endswith(" steps/s\n")


def test_lines_come_only_now_and_then(capsys: pytest.CaptureFixture[str]) -> None:
    progress = StepProgress(line_seconds=1000.0)
    progress.on_train_start(trainer(0, total=float("inf")), None)
    for step in range(1, 40):
        progress.on_step_end(trainer(step), None)
    progress.on_train_end(trainer(40, total=float("inf")), None)
    assert capsys.readouterr().out.startswith("step 40  train/loss"), "the last step, and no total where there is none"


def test_a_bar_in_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    progress = StepProgress()
    progress.console = Console(force_terminal=True, width=160, record=True)
    progress.period = 0.0
    progress.on_train_start(trainer(0), None)
    progress.on_step_end(trainer(7), None)
    assert progress._bar.tasks[0].completed == 7
    assert progress._bar.tasks[0].total == 40
    progress.on_exception(trainer(7), None, KeyboardInterrupt())
    assert progress._bar is None


def test_silent_in_further_processes(capsys: pytest.CaptureFixture[str]) -> None:
    progress = StepProgress(line_seconds=0.0)
    progress.disable()
    progress.on_train_start(trainer(0), None)
    progress.on_step_end(trainer(7), None)
    progress.on_train_end(trainer(8), None)
    assert capsys.readouterr().out == ""


def test_a_run_that_a_callback_ends_keeps_its_total(capsys: pytest.CaptureFixture[str]) -> None:
    progress = StepProgress()
    progress.on_train_start(trainer(0), None)
    progress.on_train_end(trainer(7, total=7), None)
    assert capsys.readouterr().out.startswith("step 7/40  ")
