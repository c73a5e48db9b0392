"""Properties of graphs through train.py: a class, a quantity, a run continued, and what is refused."""

import importlib.util
import json
import math
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from datamodules.batches import GraphBatch
from lightning_modules.graph_property import GraphProperty
from lightning_modules.run_files import read_metrics
from tests.conftest import refusals

Train = Callable[..., tuple[int, str, str]]
DATA = Path(os.environ.get("RESEARCH_DATA_DIR", ""))
RUN = Path("runs/molecules/version_0")
WORDS = ["--config", "molecules.yaml", "--trainer.accelerator", "cpu"]
needs_mutag = pytest.mark.skipif(not (DATA / "TUDataset/MUTAG/raw").is_dir(), reason="MUTAG's files are not here")
needs_freesolv = pytest.mark.skipif(
    importlib.util.find_spec("rdkit") is None or not (DATA / "MoleculeNet/freesolv/raw").is_dir(),
    reason="FreeSolv's files are not here, or rdkit is not installed (pip install -c constraints.txt '.[molecules]')",
)


class Sizes(nn.Module):
    """The number of nodes of each graph, standardised by nothing."""

    def forward(self, x: Tensor, edge_index: Tensor, edge_attr: Tensor, batch: Tensor, num_graphs: int) -> Tensor:
        return torch.bincount(batch, minlength=num_graphs).float()[:, None]


def test_a_quantity_is_told_in_its_own_unit() -> None:
    system = GraphProperty(Sizes(), target_mean=10, target_std=2)
    assert (system.primary_metric, GraphProperty(Sizes()).primary_metric) == ("rmse", "accuracy")
    x, none = torch.ones(4, 1), torch.zeros(2, 0).long()
    outputs = system(x, none, torch.ones(0, 1), torch.tensor([0, 1, 1, 1]), 2)  # graphs of one node and of three
    assert outputs.tolist() == [[12], [16]]


@needs_mutag
def test_a_class(train: Train) -> None:
    status, out, err = train(*WORDS, "--trainer.max_epochs", "10", small=False)
    assert (status, err) == (0, "")
    assert "test/accuracy" in out
    summary = json.loads((RUN / "summary.json").read_text())
    assert (summary["primary_metric"], summary["test/accuracy"] > 0.6) == ("accuracy", True)
    rows = read_metrics(RUN / "metrics.csv")
    losses = [row["train/loss"] for row in rows if "train/loss" in row]
    assert sum(losses[-10:]) < 0.9 * sum(losses[:10])


@needs_mutag
def test_a_checkpoint_is_tested_on_its_own_split_alone(train: Train) -> None:
    assert train(*WORDS, "--seed_everything", "3", "--trainer.max_epochs", "1", small=False)[0] == 0
    words = [*WORDS, "--stage", "test", "--ckpt_path", str(RUN / "last.ckpt")]
    status, _, err = train(*words, small=False)
    assert (status, err.count("\n")) == (2, 1)
    assert "was trained on other examples: split_number is 3 there and 2 here; it may have been trained on" in err
    assert train(*words, "--seed_everything", "3", small=False)[0] == 0


@needs_mutag
def test_a_longer_run_falls_to_its_own_end(train: Train) -> None:
    for more in (["--trainer.max_epochs", "1"], ["--trainer.max_epochs", "2", "--ckpt_path", "last"]):
        assert train(*WORDS, *more, small=False)[0] == 0
    rates = [row["learning_rate"] for row in read_metrics(RUN / "metrics.csv") if "learning_rate" in row]
    assert len(rates) == 10
    assert rates[0] == pytest.approx(1e-3)
    assert rates[6:] == pytest.approx([0.5e-3 * (1 + math.cos(math.pi * step / 10)) for step in range(6, 10)])


@needs_mutag
def test_a_stopped_run_goes_on_exactly(train: Train, monkeypatch: pytest.MonkeyPatch) -> None:
    words = [*WORDS, "--trainer.max_epochs", "3"]  # of five steps
    train(*words, "--trainer.default_root_dir", "whole", small=False)

    def stop_inside(system: GraphProperty, batch: GraphBatch, batch_idx: int) -> Tensor:
        if system.global_step == 6:
            signal.raise_signal(signal.SIGINT)
        return system.step(batch, "train")

    with monkeypatch.context() as patched:
        patched.setattr(GraphProperty, "training_step", stop_inside)
        assert train(*words, small=False)[0] == 130
    assert train(*words, "--ckpt_path", "last", small=False)[0] == 0
    assert (RUN / "metrics.csv").read_text() == (Path("whole") / RUN / "metrics.csv").read_text()


@needs_freesolv
def test_a_quantity(train: Train) -> None:
    words = ["--config", "molecules_solubility.yaml", "--data.name", "FreeSolv", "--trainer.accelerator", "cpu"]
    status, out, err = train(*words, "--trainer.max_epochs", "2", small=False)
    assert (status, err) == (0, "")
    run = Path("runs/molecules_solubility/version_0")
    summary = json.loads((run / "summary.json").read_text())
    assert summary["primary_metric"] == "rmse"
    assert "test/rmse" in out
    assert 0.5 < summary["test/rmse"] < 3.5  # kcal/mol; always telling the mean has 3.8
    std = torch.load(run / "best.ckpt", weights_only=True)["state_dict"]["std"]
    assert summary["test/rmse"] ** 2 == pytest.approx(summary["test/loss"] * float(std) ** 2, rel=1e-3)
    status, again, _ = train(*words, "--stage", "test", "--ckpt_path", str(run / "best.ckpt"), small=False)
    assert status == 0
    assert f"{summary['test/rmse']:.4f}" in again


@needs_mutag
@refusals(
    {
        "--data.split_number 10": "split_number must be 0..9 (MUTAG, folds), got 10",
        "--data.split scaffold": "MUTAG has no scaffold split; it has folds",
        "--data.name MUTAGG": "data.name: Expected a Literal['ESOL', 'FreeSolv', 'MUTAG', 'PROTEINS']. "
        "Got value: MUTAGG",
    }
)
def test_bad_settings_are_one_line(words: list[str], message: str, refused: Callable[..., str]) -> None:
    assert refused(*WORDS, *words, small=False).partition(": ")[2] == f"error: {message}\n"


def test_data_that_are_not_here(train: Train, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RESEARCH_DATA_DIR", raising=False)
    status, _, err = train(*WORDS, small=False)
    assert (status, err.count("\n")) == (2, 1)
    assert err.startswith("train.py: error: MUTAG is not in data/TUDataset/MUTAG/raw; add --data.download true to")
    assert not Path("runs").exists()
