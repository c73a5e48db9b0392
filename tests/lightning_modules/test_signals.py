"""When a signal ends the program at once, and when it waits."""

import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from lightning_modules.callbacks.curves import Curves
from lightning_modules.callbacks.stop_on_signal import StopOnSignal
from lightning_modules.callbacks.summary import Summary
from lightning_modules.cli.checkpoint_io import AtomicCheckpointIO
from lightning_modules.cli.run import Run
from lightning_modules.node_classification import NodeClassification
from lightning_modules.signals import Stopped, signals

Train = Callable[..., tuple[int, str, str]]
RUN = Path("runs/karate_gcn/version_0")
WORDS = ("--config", "karate_gcn.yaml", "--trainer.max_epochs", "3")


def test_a_signal_ends_the_program_where_it_arrives() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with signals.handled(), pytest.raises(Stopped) as stopped:
        signal.raise_signal(signal.SIGTERM)
    assert stopped.value.code == 143
    assert signal.getsignal(signal.SIGTERM) == before


def test_while_a_step_runs_the_first_signal_waits_and_the_second_does_not() -> None:
    with signals.handled():
        signals.wait_for_step()
        signal.raise_signal(signal.SIGINT)
        assert signals.received == signal.SIGINT
        with pytest.raises(Stopped):
            signal.raise_signal(signal.SIGINT)
        with pytest.raises(Stopped) as stopped:
            signals.wait_no_more()
    assert stopped.value.code == 130


def test_while_a_file_is_written_every_signal_waits() -> None:
    written = []

    def write() -> None:
        with signals.uninterrupted():
            with signals.uninterrupted():
                for _ in range(3):
                    signal.raise_signal(signal.SIGINT)
            written.append("whole")

    with signals.handled(), pytest.raises(Stopped):
        write()
    with signals.handled():
        signals.wait_for_step()
        write()  # whoever trains looks at what came
        assert signals.received == signal.SIGINT
    assert written == ["whole", "whole"]


def send(monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, times: int = 1) -> None:
    """Let a signal arrive at the first call of a method."""
    method, sent = getattr(owner, name), []

    def wrapped(*arguments: Any, **named: Any) -> Any:
        while len(sent) < times:
            sent.append(True)
            signal.raise_signal(signal.SIGTERM)
        return method(*arguments, **named)

    monkeypatch.setattr(owner, name, wrapped)


@pytest.mark.parametrize(
    ("owner", "name"),
    [(Run, "_make_trainer"), (NodeClassification, "validation_step"), (Summary, "on_train_start")],
    ids=["data are there", "sanity check", "just before the first step"],
)
def test_a_run_stopped_before_its_first_step_leaves_nothing(
    owner: Any, name: str, train: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    send(monkeypatch, owner, name)
    assert train(*WORDS, small=False) == (143, "", "stopped\n")
    assert not Path("runs").exists()


@pytest.mark.parametrize(
    ("owner", "name"),
    [(StopOnSignal, "on_train_end"), (Curves, "on_fit_end"), (NodeClassification, "test_step"), (Summary, "report")],
    ids=["last step done", "drawing", "test", "report"],
)
def test_a_run_stopped_after_its_last_step_says_how_it_is_finished(
    owner: Any, name: str, train: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        send(patch, owner, name)
        status, out, err = train(*WORDS, small=False)
    assert (status, err) == (143, "")
    assert "stopped after step 3, saved; to continue:" in out.splitlines()[-1]
    assert not (RUN / "summary.json").exists()
    status, out, err = train(*WORDS, "--ckpt_path", "last", small=False)
    assert (status, err) == (0, "")
    assert "test/accuracy" in out


def test_signals_while_a_checkpoint_is_saved_do_not_break_it(train: Train, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        send(patch, AtomicCheckpointIO, "save_checkpoint", times=3)
        words = (*WORDS, "--trainer.limit_val_batches", "0", "--checkpoints.every_n_steps", "2")
        status, out, err = train(*words, small=False)
    assert (status, err) == (143, "")
    assert "stopped after step 2, saved; to continue:" in out.splitlines()[-1]
    assert torch.load(RUN / "last.ckpt", weights_only=True)["global_step"] == 2
    assert not list(RUN.glob(".*.tmp"))


def test_a_signal_while_train_py_imports(start: Callable[..., subprocess.Popen[str]]) -> None:
    process = start("--trainer.max_steps", "2")
    time.sleep(0.3)
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=120)
    assert process.returncode in (143, -signal.SIGTERM), "the latter before the first line of train.py"
    assert (out, err) in (("", "stopped\n"), ("", ""))
    assert not Path("runs").exists()
