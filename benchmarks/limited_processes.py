"""Runs commands as processes with a time limit. On a GPU a faulty kernel may never end."""

import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parent.parent
NOT_ENDED = 124  # exit status of the command timeout when the limit is reached


class Child(NamedTuple):
    """A running process, the file of its output, its start time and its limit in seconds."""

    process: subprocess.Popen[bytes]
    printed: Any
    started: float
    seconds: float


def run(commands: Sequence[Sequence[str]], seconds: float, end: float = float("inf")) -> list[tuple[int, str]]:
    """Run commands, as many at a time as there are CPUs; return the exit status and the output of each.

    A command ends `seconds` after its start, or at `end` on the clock of time.monotonic(), even if this process is
    killed. If this process is stopped, the commands are stopped too.
    """
    found: dict[int, tuple[int, str]] = {}
    children: dict[int, Child] = {}
    try:
        while len(found) < len(commands):
            while (number := len(found) + len(children)) < len(commands) and len(children) < _cpus():
                children[number] = _start(commands[number], max(1.0, min(seconds, end - time.monotonic())))
            for number, child in list(children.items()):
                if (status := child.process.poll()) is not None:
                    if status == -signal.SIGKILL and time.monotonic() - child.started > child.seconds:
                        status = NOT_ENDED  # timeout -k kills the command and itself
                    del children[number]
                    found[number] = status, _text(child, status)
            time.sleep(0.02)
        return [found[number] for number in range(len(commands))]
    finally:
        for child in children.values():
            child.process.terminate()
            child.printed.close()


def _cpus() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _start(words: Sequence[str], seconds: float) -> Child:
    printed = tempfile.TemporaryFile()  # noqa: SIM115 - read after the process has ended
    limited = ["timeout", "-k", "5", f"{seconds:.0f}", *words]
    environment = os.environ | {"TRITON_INTERPRET": "0", "PYTHONUNBUFFERED": "1"}
    process = subprocess.Popen(limited, stdout=printed, stderr=subprocess.STDOUT, cwd=ROOT, env=environment)
    return Child(process, printed, time.monotonic(), seconds)


def _text(child: Child, status: int) -> str:
    with child.printed:
        child.printed.seek(0)
        text = child.printed.read().decode(errors="replace")
    words = " ".join(map(str, child.process.args[4:]))  # type: ignore[index]
    return text + f"DID NOT END in {child.seconds:.0f} s: {words}\n" * (status == NOT_ENDED)
