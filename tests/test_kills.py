"""Two hundred kills, at every kind of data and at random points of a run: what goes on is what an unbroken run is."""

import json
import os
import subprocess
import sys
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
    """Real processes, killed when so many seconds have passed: while they import, train, draw or test."""
    config, *more = KINDS["book, windows"]
    words = ["--config", f"{config}.yaml", *more, "--trainer.accelerator", "cpu"]
    write_data()
    process = start(*words, small=False)
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, out + err
    unbroken = left(Path("runs") / config / "version_0")
    Path("runs").rename("unbroken")
    for seconds in (0.5, 2, 3, 4, 5, 6, 7, 8, None):
        last = newest(Path("runs") / config)
        go_on = ["--ckpt_path", "last"] if last is not None and (last / "last.ckpt").exists() else []
        if go_on and (last / "summary.json").exists():
            break
        process = start(*words, *go_on, small=False)
        try:
            out, err = process.communicate(timeout=seconds)
            assert process.returncode == 0, out + err
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
    assert last is not None
    assert left(newest(Path("runs") / config) or last) == unbroken
