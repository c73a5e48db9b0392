"""A process whose parent ends is stopped as by SIGTERM."""

import os
import subprocess
import sys
from pathlib import Path

from lightning_modules.cli.parent import STOP_WITH_PARENT, stop_with_parent

CHILD = """
import signal, sys, time
from lightning_modules.cli.parent import stop_with_parent

signal.signal(signal.SIGTERM, lambda *_: sys.exit(7))
stop_with_parent()
print("ready", flush=True)
time.sleep(float(sys.argv[1]))
"""


def child(seconds: float, watches: str) -> subprocess.Popen[bytes]:
    process = subprocess.Popen(
        [sys.executable, "-c", CHILD, str(seconds)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parents[3],
        env=os.environ | {STOP_WITH_PARENT: watches},
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    return process


def test_a_closed_pipe_counts_as_sigterm() -> None:
    with child(60, "1") as process:
        assert process.poll() is None
        process.communicate(timeout=30)  # closes standard input
    assert process.returncode == 7


def test_without_the_variable_nothing_is_watched() -> None:
    with child(0.5, "0") as process:
        process.communicate(timeout=30)
    assert process.returncode == 0


def test_an_open_pipe_does_not_hold_a_process_up() -> None:
    with child(0.5, "1") as process:
        assert process.wait(30) == 0


def test_in_this_process_nothing_is_watched() -> None:
    stop_with_parent()
