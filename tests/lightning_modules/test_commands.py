"""Lines to copy from the terminal."""

import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from lightning_modules.commands import again, program


def test_the_same_words_with_other_options(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["../a place/train.py"])
    words = ["--ckpt_path", "a.ckpt", "--config", "my config.yaml", "--solved.stop=true", "--data.path", "it's $HOME"]
    line = again(words, solved__stop="false", ckpt_path="last")
    assert shlex.split(line)[1:] == [
        "../a place/train.py", "--config", "my config.yaml", "--data.path", "it's $HOME",
        "--solved.stop", "false", "--ckpt_path", "last",
    ]  # fmt: skip
    assert (
        subprocess.run(["sh", "-c", f"printf %s\\\\n {line}"], capture_output=True, text=True).stdout.count("\n") == 10
    )


def test_a_program_is_called_by_its_name_only_if_the_shell_finds_this_one(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    here, other = tmp_path / "environment", tmp_path / "other"
    for folder in (here, other):
        folder.mkdir()
        for name in ("python", "tensorboard"):
            (folder / name).write_text("")
            (folder / name).chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(here / "python"))
    monkeypatch.setenv("PATH", str(here))
    assert (program("python"), program("tensorboard")) == ("python", "tensorboard")
    monkeypatch.setenv("PATH", f"{other}:{here}")
    assert (program("python"), program("tensorboard")) == ("environment/python", "environment/tensorboard")
    monkeypatch.chdir(other)
    assert program("python") == str(here / "python"), "in another folder the whole path"
    monkeypatch.setenv("PATH", "")
    assert program("tensorboard") == str(here / "tensorboard")
