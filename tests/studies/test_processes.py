"""The runs of a study as processes on this machine."""

import threading
from pathlib import Path

import pytest

from lightning_modules.cli.run_folder import is_running, running
from studies import processes
from studies.runs import plan
from tests.conftest import finish


def test_a_run_in_use_is_waited_for(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """The process that runs it finishes it in the meantime."""
    runs = plan(["palindrome_lstm.yaml"], [1], [], [])
    folder = finish(runs[0])
    summary = folder / "summary.json"
    summary.rename("aside")

    def end() -> None:
        with running(folder):
            held.set()
            asked.wait(60)
            Path("aside").rename(summary)

    held, asked = threading.Event(), threading.Event()
    monkeypatch.setattr(processes, "is_running", lambda run: (is_running(run), asked.set())[0])
    thread = threading.Thread(target=end)
    thread.start()
    held.wait(60)
    assert processes.LocalProcesses(Path(), jobs=1).carry_out(runs) == {}
    thread.join(60)
    out = capsys.readouterr().out
    assert f"seed 1: waiting for {folder}, which another process is running\n" in out
    assert f"seed 1: finished before, {folder}" in out
