"""Link prediction through train.py: small graphs whose links follow a rule, and data that are not there."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch.nn.functional import cross_entropy as reference

from datamodules.knowledge_graphs import find_folder
from lightning_modules.link_prediction import cross_entropy
from lightning_modules.run_files import read_metrics

Train = Callable[..., tuple[int, str, str]]
KNOWLEDGE = ["--config", "knowledge_graph.yaml", "--data.path", "ring", "--trainer.accelerator", "cpu"]
KNOWLEDGE += ["--model.network.hidden_size", "20", "--data.batch_size", "32"]
FRIENDS = ["--config", "friends.yaml", "--data.path", "edges.txt", "--trainer.accelerator", "cpu"]
FRIENDS += ["--model.network.hidden_size", "32", "--data.batch_size", "16"]
RUN = Path("runs/knowledge_graph/version_0")


@pytest.fixture
def ring(own_folder: Path) -> None:
    """Twenty nodes in a ring; relation k leads k places on, k = 1, 2, 3."""
    triples = [f"{i}\tplus{k}\t{(i + k) % 20}\n" for i in range(20) for k in (1, 2, 3)]
    order = torch.randperm(60, generator=torch.Generator().manual_seed(0)).tolist()
    Path("ring").mkdir()
    for name, part in {"train": order[:50], "valid": order[50:55], "test": order[55:]}.items():
        Path("ring", f"{name}.txt").write_text("".join(triples[number] for number in part))


@pytest.fixture
def circles(own_folder: Path) -> None:
    """Four circles of eight friends each."""
    Path("edges.txt").write_text(
        "".join(f"{8 * c + i} {8 * c + j}\n" for c in range(4) for i in range(8) for j in range(i))
    )


def test_the_loss_is_the_mean_over_targets() -> None:
    scores, rows, targets = torch.randn(3, 7), torch.tensor([0, 0, 2]), torch.tensor([1, 4, 6])
    torch.testing.assert_close(cross_entropy(scores, rows, targets), reference(scores[rows], targets))


@pytest.mark.parametrize("network", ["complex.ComplEx", "distmult.DistMult"])
@pytest.mark.parametrize("layers", ["0", "1"])
def test_a_ring_is_learnt(train: Train, ring: None, network: str, layers: str) -> None:
    words = ["--model.network", f"lightning_modules.networks.{network}"]
    words += ["--model.network.rgcn_layers", layers, "--trainer.max_epochs", "30" if layers == "0" else "3"]
    status, out, err = train(*KNOWLEDGE[:2], *words, *KNOWLEDGE[2:], small=False)
    assert (status, err) == (0, "")
    assert "test/mrr" in out
    summary = json.loads((RUN / "summary.json").read_text())
    assert {"test/mrr", "test/hits@1", "test/hits@10", "test/relation_frequency/mrr"} <= summary.keys()
    losses = [row["train/loss"] for row in read_metrics(RUN / "metrics.csv") if "train/loss" in row]
    assert losses[-1] < losses[0]
    if (network, layers) == ("complex.ComplEx", "0"):
        assert summary["test/mrr"] > 2 * summary["test/relation_frequency/mrr"]
        rows = [row for row in read_metrics(RUN / "metrics.csv") if "val/mrr" in row]
        best = torch.load(RUN / "best.ckpt", weights_only=True)
        assert best["global_step"] - 1 in [
            row["step"] for row in rows if row["val/mrr"] == max(row["val/mrr"] for row in rows)
        ]


def test_circles_are_learnt(train: Train, circles: None) -> None:
    status, _, err = train(*FRIENDS, "--trainer.max_epochs", "30", small=False)
    assert (status, err) == (0, "")
    summary = json.loads(Path("runs/friends/version_0/summary.json").read_text())
    assert summary["test/mrr"] > 0.9
    assert summary["test/adamic_adar/mrr"] > 0.9
    assert summary["test/popularity/mrr"] < 0.5
    assert summary["test/recall@10"] == 1


def test_a_stopped_run_goes_on_exactly(train: Train, ring: None) -> None:
    train(*KNOWLEDGE, "--trainer.max_steps", "15", "--trainer.default_root_dir", "whole", small=False)
    for more in (["--trainer.max_steps", "7"], ["--trainer.max_steps", "15", "--ckpt_path", "last"]):
        status, _, err = train(*KNOWLEDGE, *more, small=False)
        assert (status, err) == (0, "")
    assert (RUN / "metrics.csv").read_text() == (Path("whole") / RUN / "metrics.csv").read_text()


@pytest.mark.parametrize(
    ("config", "line"),
    [
        (
            "knowledge_graph.yaml",
            "Nations is not in data/KG/nations; add --data.download true to fetch it (50 kB from raw.g",
        ),
        ("friends.yaml", "ego-Facebook is not in data/SNAP; add --data.download true to fetch it (0.2 MB from snap"),
    ],
)
def test_data_that_are_not_here(train: Train, monkeypatch: pytest.MonkeyPatch, config: str, line: str) -> None:
    monkeypatch.delenv("RESEARCH_DATA_DIR", raising=False)
    status, _, err = train("--config", config, small=False)
    assert (status, err.count("\n")) == (2, 1)
    assert err.startswith(f"train.py: error: {line}")
    assert not Path("runs").exists()


def test_a_penalty_that_the_network_lacks_is_one_line(train: Train, circles: None) -> None:
    status, _, err = train(*FRIENDS, "--model.n3_penalty", "0.1", small=False)
    assert status == 2
    assert err == "train.py: error: n3_penalty applies to ComplEx and DistMult; for FriendSAGE set it to 0\n"


def test_nations_are_learnt(train: Train) -> None:
    try:
        find_folder("Nations")
    except ValueError:
        pytest.skip("the files of Nations are not here")
    words = ["--config", "knowledge_graph.yaml", "--trainer.max_epochs", "15", "--trainer.accelerator", "cpu"]
    status, _, err = train(*words, small=False)
    assert (status, err) == (0, "")
    summary = json.loads((RUN / "summary.json").read_text())
    assert summary["test/mrr"] > 0.7 > 0.6 > summary["test/relation_frequency/mrr"]
