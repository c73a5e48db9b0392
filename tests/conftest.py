"""What the tests share: a small run of train.py, inside the test's process or as a process of its own."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

# Triton's kernels are interpreted, on the CPU; TRITON_INTERPRET=0 compiles them, for the tests marked gpu.
os.environ.setdefault("TRITON_INTERPRET", "1")

# In the background a shell lets its commands ignore Ctrl-C, and theirs; here it is sent on purpose.
signal.signal(signal.SIGINT, signal.default_int_handler)

ROOT = Path(__file__).resolve().parent.parent
SMALL = [
    "--config",
    "palindrome_lstm.yaml",
    "--data.batch_size",
    "8",
    "--data.length",
    "2",
    "--trainer.accelerator",
    "cpu",
]
SMALL += ["--model.network.hidden_size", "8", "--model.network.embedding_size", "4"]


@pytest.fixture(autouse=True)
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Let every test work in an empty folder of its own."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def train(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Return a function that runs train.py's command line here on a small network: (status, stdout, stderr)."""
    from lightning_modules.cli import main

    def run(*words: str, small: bool = True) -> tuple[int, str, str]:
        try:
            status = main([*(SMALL if small else []), *words])
        except SystemExit as stop:
            status = int(stop.code or 0)
        out, err = capsys.readouterr()
        return status, out, err

    return run


@pytest.fixture
def start(tmp_path: Path) -> Callable[..., subprocess.Popen[str]]:
    """Return a function that starts a root script, by default train.py on a small network, as a process."""

    def run(
        *words: str, script: str = "train.py", small: bool = True, prefix: tuple[str, ...] = ()
    ) -> subprocess.Popen[str]:
        command = [*prefix, sys.executable, str(ROOT / script), *(SMALL if small else []), *words]
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        return subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=tmp_path, env=environment,
            start_new_session=True,
        )  # fmt: skip

    return run
