"""A package that only a benchmark needs is an extra, and is named where it is missing."""

import configparser
import importlib.util
import re
import sys
from pathlib import Path

import pytest

from benchmarks import text_baseline
from datamodules import molecule_files

ROOT = Path(text_baseline.__file__).resolve().parent.parent


def test_no_scikit_learn_is_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(sys, "argv", ["text_baseline"])
    with pytest.raises(SystemExit) as stop:
        text_baseline.main()
    assert stop.value.code == 2
    line = "scikit-learn is not installed: pip install -c constraints.txt '.[benchmarks]'"
    assert capsys.readouterr().err == f"text_baseline: error: {line}\n"


@pytest.mark.parametrize("line", [text_baseline.SKLEARN_MISSING, molecule_files.RDKIT_MISSING])
def test_the_command_names_an_extra_with_exact_versions(line: str) -> None:
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    extra = re.search(r"pip install -c constraints\.txt '\.\[(\w+)\]'", line)[1]
    exact = [word.partition("==")[0] for word in (ROOT / "constraints.txt").read_text().split()]
    for package in setup["options.extras_require"][extra].split():
        assert package.partition(">")[0] in exact
