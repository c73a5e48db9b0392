"""Two hundred kills, at every kind of data and at random points of a run: what goes on is what an unbroken run is."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.kill_trials import KINDS, ROOT, left, newest, write_data

MUTAG = Path(os.environ.get("RESEARCH_DATA_DIR", "")) / "TUDataset" / "MUTAG" / "raw"
KILLS = 25
pytestmark = pytest.mark.slow


@pytest.mark.parametrize("kind", KINDS)
def test_killed_runs_go_on_exactly(kind: str) -> None:
    if kind == "molecules" and not MUTAG.is_dir():
        pytest.skip("MUTAG's files are not here")
    command = [sys.executable, "-m", "tests.kill_trials", kind, str(KILLS), "1"]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, check=True, text=True)
    result = json.loads(done.stdout)
    assert result["problems"] == []
    assert result["SIGKILL"] == KILLS


def test_a_process_killed_at_any_time_goes_on_exactly(start: Callable[..., subprocess.Popen[str]]) -> None:
    """Real processes, killed after a share of the time that an unbroken one takes: while they import, train or test."""
    config, *more = KINDS["book, windows"]
    words, folder = ["--config", f"{config}.yaml", *more, "--trainer.accelerator", "cpu"], Path("runs") / config
    write_data()
    begin = time.monotonic()
    out, err = start(*words, small=False).communicate(timeout=300)
    seconds = time.monotonic() - begin
    unbroken = left(folder / "version_0")
    Path("runs").rename("unbroken")
    for share in (0.1, 0.6, 0.7, 0.8, 0.85, 0.9, 0.95, None):
        last = newest(folder)
        if last is not None and (last / "summary.json").exists():
            break
        go_on = ["--ckpt_path", "last"] if last is not None and (last / "last.ckpt").exists() else []
        process = start(*words, *go_on, small=False)
        try:
            out, err = process.communicate(timeout=share and share * seconds)
            assert process.returncode == 0, out + err
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
    run = newest(folder)
    assert run is not None
    assert left(run) == unbroken
