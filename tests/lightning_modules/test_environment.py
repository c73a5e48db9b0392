"""Where a result was made."""

import json
import subprocess
from pathlib import Path

import pytest
import torch

from lightning_modules import environment as module
from lightning_modules.environment import commit, environment, processor


def test_an_environment_names_versions_and_machine() -> None:
    facts = environment()
    assert json.loads(json.dumps(facts)) == facts
    assert facts["torch"].split("+")[0] == torch.__version__.split("+")[0]
    assert facts["device"] == "cpu"
    assert facts["threads"] == torch.get_num_threads()
    assert {"commit", "date", "python", "pytorch_lightning", "torch_geometric", "processor", "cores"} <= facts.keys()


def test_a_commit_is_that_of_the_folder_itself(own_folder: Path) -> None:
    def git(*words: str) -> str:
        identity = ("-c", "user.name=a", "-c", "user.email=a@b")
        return subprocess.run(["git", *identity, *words], check=True, capture_output=True, text=True).stdout.strip()

    git("init", "-q")
    Path("file").write_text("1")
    git("add", "file")
    git("commit", "-q", "-m", "first")
    git("tag", "v1")
    head = git("rev-parse", "--short=7", "HEAD")
    assert commit(own_folder) == head
    Path("file").write_text("2")
    assert commit(own_folder) == f"{head}-dirty"
    inside = own_folder / "inside"
    inside.mkdir()
    assert commit(inside) is None, "a folder inside another repository"


def test_there_may_be_no_git(monkeypatch: pytest.MonkeyPatch, own_folder: Path) -> None:
    (own_folder / ".git").mkdir()
    assert commit(own_folder) is None, "an empty .git"
    monkeypatch.setenv("PATH", "")
    assert commit(own_folder) is None


def test_instructions_of_the_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_processor_name", lambda: "A chip")
    for capability, bfloat16, text in (
        ("AVX512", True, "A chip, AVX-512, bfloat16"),
        ("AVX2", False, "A chip, AVX2"),
        ("DEFAULT", False, "A chip"),
    ):
        monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda found=capability: found)
        monkeypatch.setattr(module, "computes", lambda dtype, device, found=bfloat16: found)
        assert processor() == text
