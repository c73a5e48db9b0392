"""Every config: found by glob, documented, and stepped once."""

import importlib.util
import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from lightning_modules.cli.parser import CONFIGS
from lightning_modules.cli.settings import TrainCLI
from lightning_modules.run_files import read_metrics

MUTAG = Path(os.environ.get("RESEARCH_DATA_DIR", "")) / "TUDataset" / "MUTAG" / "raw"
CONFIG_FILES = sorted(CONFIGS.glob("*.yaml"))


def test_there_are_configs() -> None:
    assert len(CONFIG_FILES) >= 6


@pytest.mark.parametrize("path", CONFIG_FILES, ids=lambda path: path.stem)
def test_config_says_what_it_claims_and_how_to_run_it(path: Path) -> None:
    lines = path.read_text().splitlines()
    header = [line for line in lines if line.startswith("#")]
    assert len(lines) < 40
    assert lines[0].startswith("# ")
    assert f"#   python train.py --config {path.name}" in header
    assert "seed_everything: 42" in lines


def test_the_readme_names_every_config() -> None:
    rows = re.findall(r"^\|.*", (CONFIGS.parent / "README.md").read_text(encoding="utf-8"), re.MULTILINE)
    named = re.findall(r"`(\w+\.yaml)`", "\n".join(row.split("|")[1] for row in rows))
    assert sorted({*named}) == [path.name for path in CONFIG_FILES]


@pytest.mark.parametrize("path", CONFIG_FILES, ids=lambda path: path.stem)
def test_the_settings_of_a_run_make_the_same_run(path: Path) -> None:
    cli = TrainCLI(["--config", path.name, "--ckpt_path", "somewhere.ckpt"])
    Path("config.yaml").write_text(cli.yaml)
    again = TrainCLI(["--config", "config.yaml"])
    assert again.values == cli.values
    assert (again.config.ckpt_path, again.config.stage) == (None, "fit")


@pytest.mark.parametrize("path", CONFIG_FILES, ids=lambda path: path.stem)
def test_config_trains(path: Path, train: Callable[..., tuple[int, str, str]]) -> None:
    words = ["--trainer.max_steps", "1", "--trainer.accelerator", "cpu"]
    if "datamodules.molecules" in path.read_text():  # of its sets one that needs no rdkit
        if not MUTAG.is_dir():
            pytest.skip("MUTAG's files are not here")
        words += ["--data.name", "MUTAG", "--trainer.val_check_interval", "1"]
    if "datamodules.node_graphs" in path.read_text():  # a graph is one batch; this one is always there
        words += ["--data", "datamodules.node_graphs.Karate"]
    else:
        words += ["--data.batch_size", "4"]
    if "datamodules.knowledge_graphs" in path.read_text():
        for name, tail in {"train": "b", "valid": "c", "test": "d"}.items():
            Path(f"{name}.txt").write_text(f"a\tknows\t{tail}\n")
        words += ["--data.path", "."]
    if "datamodules.social_graphs" in path.read_text():
        Path("edges.txt").write_text("".join(f"{a} {b}\n" for a in range(8) for b in range(a)))
        words += ["--data.path", "edges.txt"]
    if "datamodules.book" in path.read_text():  # on a text that is always there
        words += ["--data.book", "null", "--trainer.val_check_interval", "1", "--trainer.limit_val_batches", "2"]
    status, _, err = train("--config", path.name, *words, small=False)
    assert (status, err) == (0, "")
    row, *_ = read_metrics(Path("runs") / path.stem / "version_0" / "metrics.csv")
    assert 0 < row["train/loss"] < 10


@pytest.mark.slow
@pytest.mark.parametrize("path", CONFIG_FILES, ids=lambda path: path.stem)
def test_config_runs_offline_or_names_the_option_that_makes_it_run(
    path: Path,
    train: Callable[..., tuple[int, str, str]],
    start: Callable[..., subprocess.Popen[str]],
    mirror: dict[str, bytes],
    published: Callable[[str], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    words = ["--config", path.name, "--trainer.max_steps", "2", "--trainer.accelerator", "cpu"]
    words += ["--trainer.limit_val_batches", "1", "--trainer.limit_test_batches", "1"]
    with monkeypatch.context() as ordinary:
        ordinary.delenv("RESEARCH_DATA_MIRROR")
        status, _, err = train(*words, small=False)
    if status == 2:
        assert not Path("runs").exists()
        assert not Path("data").exists()
        line = r"train\.py: error: (\S+) is not in data/\S+; add (\S+) (\S+) to fetch it \([\w. ]+ from \S+\)\n"
        named = re.fullmatch(line, err)
        assert named is not None, err
        published(named[1])
        process = start(*words, named[2], named[3], small=False)
        out, err = process.communicate()
        status = process.returncode
        assert f"fetching {named[1]} from 127.0.0.1" in out
        if named[1] == "ESOL" and importlib.util.find_spec("rdkit") is None:
            assert "rdkit, which is not installed: pip install" in err
            return
    assert (status, err) == (0, "")
    rows = read_metrics(Path("runs") / path.stem / "version_0" / "metrics.csv")
    assert sum("train/loss" in row for row in rows) == 2
