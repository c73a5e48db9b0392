"""Classes that are none of the kind wanted, and files that are no files: one line each, and nothing left behind."""

import builtins
import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from datamodules.errors import DataError
from datamodules.text_lines import file_text
from lightning_modules.checkpoint_file import read_checkpoint
from lightning_modules.cli.parser import CONFIGS, find_config
from lightning_modules.errors import UserError
from tests.conftest import refusals

Train = Callable[..., tuple[int, str, str]]
Refused = Callable[..., str]


@refusals(
    {
        "--model.network.layer builtins.int": "layer: Expected 'builtins.int' to be a subclass of Module",
        "--model.network.layer torch.nn.Linear": "cannot run torch.nn.modules.linear.Linear, which has",
        "--model.network.layer torch.nn.LSTM": "use a layer of kernels, such as kernels.LSTM",
        "--model.network.layer.batch_first true": "gives it tokens [T, B]; batch_first must be false",
        "--model.network.layer.dtype torch.float16": "its dtype must be that of the network, float32",
        "--model.network.layer kernels.layer.RecurrentLayer": "RecurrentLayer defines no shapes",
        "--model.network builtins.int": "Import path builtins.int does not correspond to a subclass of Module",
        "--model.network torch.nn.Identity": "Expected key network.init_args.",
        "--model.network lightning_modules.networks.graph_lstm.GraphLSTM": "GraphLSTM does not take (missing a",
        "--model torch.nn.Linear": "to a subclass of LightningModule; Given value: torch.nn.Linear",
        "--model builtins.int": "model: Import path does not correspond to a subclass of LightningModule",
        "--data torch.nn.Linear": "data: Import path does not correspond to a subclass of LightningDataModule",
        "--data builtins.int": "not correspond to a subclass of LightningDataModule; Given value: builtins.int",
        "--trainer.callbacks builtins.int": "builtins.int",
        "--optimizer torch.optim.SGD": "unknown key optimizer",
    }
)
def test_classes_of_another_kind(refused: Refused, words: list[str], message: str) -> None:
    assert message in refused("--trainer.max_steps", "1", *words)


@pytest.mark.parametrize("layer", ["torch.nn.Linear", "torch.nn.LSTM"])
def test_layers_of_a_network_of_texts(refused: Refused, layer: str) -> None:
    words = ("--config", "text_graph_lstm.yaml", "--model.network.layer", layer, "--trainer.accelerator", "cpu")
    assert "use a layer of kernels" in refused(*words, small=False)


@pytest.mark.parametrize("name", ["a\0b", "", "folder", "x" * 300, "x" * 5000, "broken", "loop", "pipe", "a\nb", "f/x"])
def test_paths_that_are_no_files(train: Train, name: str) -> None:
    Path("folder").mkdir()
    Path("f").touch()
    Path("broken").symlink_to("nowhere")
    Path("loop").symlink_to("loop")
    os.mkfifo("pipe")
    for refuse in (lambda: find_config(name), lambda: read_checkpoint(Path(name))):
        with pytest.raises(UserError) as refused:
            refuse()
        assert "\n" not in str(refused.value)
        assert len(str(refused.value)) < 1000
    if "\0" not in name:
        with pytest.raises(DataError):
            file_text(Path(name))


def unreadable(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a file be one that may not be read; root may read all, so permissions would not do."""
    real = io.open

    def refuse(file: Any, mode: str = "r", *rest: Any, **options: Any) -> Any:
        if str(file).endswith(name) and "r" in mode:
            raise PermissionError(13, "Permission denied", str(file))
        return real(file, mode, *rest, **options)

    monkeypatch.setattr(io, "open", refuse)
    monkeypatch.setattr(builtins, "open", refuse)


def test_a_file_that_cannot_be_read_is_said_to_be_so(train: Train, monkeypatch: pytest.MonkeyPatch) -> None:
    assert train("--trainer.max_steps", "1")[0] == 0
    Path("mine.yaml").write_text((CONFIGS / "palindrome_lstm.yaml").read_text())
    last = "runs/palindrome_lstm/version_0/last.ckpt"
    Path("mine.txt").write_text("text " * 100)
    for name, words in {
        "mine.yaml": ("--config", "mine.yaml"),
        "last.ckpt": ("--trainer.max_steps", "2", "--ckpt_path", last),
        "metrics.csv": ("--trainer.max_steps", "2", "--ckpt_path", "last"),
        "mine.txt": ("--config", "book_lstm.yaml", "--data.path", "mine.txt"),
    }.items():
        with monkeypatch.context() as patch:
            unreadable(name, patch)
            status, _, err = train(*words, small=name in ("last.ckpt", "metrics.csv"))
        assert (status, err.count("\n")) == (2, 1), (name, err)
        assert "cannot read" in err
        assert "write" not in err
