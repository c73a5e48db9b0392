"""make train: the task until it is solved, then commands that work. make study: the claims."""

import os
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from lightning_modules.cli.settings import parse_settings
from studies.claims import PARTS, load
from studies.options import parse

ROOT = Path(__file__).resolve().parent.parent
pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")


def make(target: str) -> str:
    """Return what make would do for a target, with the set-up left out; also when make itself runs this test."""
    command = ["make", "--dry-run", "--no-print-directory", "--assume-old=.venv/installed", target]
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, env=environment).stdout


def test_make_train_ends_when_solved_and_names_commands_that_work() -> None:
    first, *rest = [line for line in make("train").splitlines() if "train.py" in line or "make" in line]
    interpreter, script, *words = shlex.split(first)
    assert (interpreter, script) == (".venv/bin/python", "train.py")
    _, settings = parse_settings(words)
    assert settings["solved"]["stop"]
    assert settings["trainer"]["max_steps"] == 3000
    board, book, help_line = (shlex.split(line.rstrip('"').rpartition("   ")[2]) for line in rest)
    assert board == ["make", "tensorboard"]
    assert ".venv/bin/tensorboard --logdir runs" in make("tensorboard")
    assert book[:2] == help_line[:2] == [".venv/bin/python", "train.py"]
    folder, settings = parse_settings(book[2:])
    assert folder.name == "book_lstm"
    assert settings["data"]["init_args"]["download"]
    assert help_line[2:] == ["--help"]


def test_make_study_runs_all_claims_and_make_study_quick_the_short_runs() -> None:
    for target, quick in (("study", False), ("study-quick", True)):
        (line,) = [line for line in make(target).splitlines() if "study.py" in line]
        interpreter, script, *words = shlex.split(line)
        assert (interpreter, script) == (".venv/bin/python", "study.py")
        options, _ = parse(words, None)
        assert (options.quick, options.only, options.budget) == (quick, None, None)
    assert "make study-quick" in (ROOT / ".ci" / "run").read_text()


def test_a_quick_study_has_claims_of_every_part() -> None:
    assert {claim.part for claim in load() if claim.quick is not None} == set(PARTS)
