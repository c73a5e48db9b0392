"""Commands with a time limit."""

import sys

import pytest

from benchmarks import limited_processes


def test_commands_end_with_their_limit_and_keep_what_they_printed() -> None:
    sleep = "import time; print('begun', flush=True); time.sleep(100)"
    killed = "import os; os.kill(os.getpid(), 9)"
    deaf = f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); {sleep}"
    commands = [[sys.executable, "-c", code] for code in ("print('done')", "raise SystemExit(3)", killed, sleep, deaf)]
    (fine, done), (failed, _), (status, text), *hung = limited_processes.run(commands, 2)
    assert (fine, done.strip(), failed) == (0, "done", 3)
    assert status != limited_processes.NOT_ENDED
    assert text == ""
    for status, text in hung:
        assert status == limited_processes.NOT_ENDED
        assert text.startswith("begun\nDID NOT END in 2 s: ")


def test_no_more_commands_run_at_a_time_than_there_are_cpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limited_processes, "_cpus", lambda: 2)
    code = "import time; print(time.monotonic(), flush=True); time.sleep(0.3); print(time.monotonic())"
    found = limited_processes.run([[sys.executable, "-c", code]] * 5, 60)
    spans = [tuple(map(float, text.split())) for _, text in found]
    for moment, _ in spans:
        assert sum(start <= moment < stop for start, stop in spans) <= 2
