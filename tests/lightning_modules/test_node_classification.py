"""Node classification through train.py: the club with all networks, and data that are not there."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from pytorch_lightning import Trainer

from datamodules.node_graphs import Karate
from lightning_modules.networks import gcn
from lightning_modules.networks.gcn import GCN, sparse_adjacency
from lightning_modules.node_classification import NodeClassification
from lightning_modules.run_files import read_metrics

Train = Callable[..., tuple[int, str, str]]
SAGE = ["--model.network", "lightning_modules.networks.graph_sage.GraphSAGE"]
RUN = Path("runs/karate_gcn/version_0")


@pytest.mark.parametrize("network", ["gcn.GCN", "gat.GAT", "graph_sage.GraphSAGE", "gcnii.GCNII"])
def test_the_club_is_learnt(train: Train, network: str) -> None:
    words = ["--config", "karate_gcn.yaml", "--trainer.accelerator", "cpu"]
    if network != "gcn.GCN":
        words += ["--model.network", f"lightning_modules.networks.{network}"]
    if network == "gcnii.GCNII":
        words += ["--model.network.num_layers", "4"]
    status, out, err = train(*words, small=False)
    assert (status, err) == (0, "")
    for shown in ("train/accuracy", "test/accuracy", "nodes.png", "best.ckpt"):
        assert shown in out
    rows = read_metrics(RUN / "metrics.csv")
    losses = [row["train/loss"] for row in rows if "train/loss" in row]
    assert sum(losses[-10:]) < 0.7 * sum(losses[:10])
    assert (RUN / "nodes.png").exists()
    assert (RUN / "attention.png").exists() == (network == "gat.GAT")
    if network == "gcn.GCN":  # a bit more than a third are in the largest group
        assert json.loads((RUN / "summary.json").read_text())["test/accuracy"] > 0.6


@pytest.mark.filterwarnings("ignore")  # Lightning's advice, which train.py keeps off the terminal
def test_a_validation_apart_comes_before_a_training(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both together compute the adjacency matrix once."""
    computed = []
    monkeypatch.setattr(gcn, "sparse_adjacency", lambda *graph: computed.append(graph) or sparse_adjacency(*graph))
    data = Karate()
    system = NodeClassification(GCN(34, 4))
    trainer = Trainer(
        max_epochs=3, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False
    )
    trainer.validate(system, data, verbose=False)
    trainer.fit(system, data)
    assert trainer.global_step == 3
    assert len(computed) == 1


def test_a_weight_decay_for_each_part(train: Train) -> None:
    words = ["--config", "karate_gcn.yaml", "--trainer.max_epochs", "1", "--trainer.accelerator", "cpu"]
    assert train(*words, "--model.weight_decay", "{last: 0.1}", small=False)[0] == 0
    status, _, err = train(*words, "--model.weight_decay", "{lest: 0.1}", small=False)
    assert (status, err.count("\n")) == (2, 1)
    assert "weight_decay: the network has no part 'lest'; it has first, last" in err
    system = NodeClassification(GCN(num_features=2, num_classes=2), weight_decay={"last": 0.1})
    assert [group["weight_decay"] for group in system.configure_optimizers().param_groups] == [0, 0, 0.1, 0.1]


@pytest.mark.parametrize("sampled", [False, True])
def test_a_stopped_run_goes_on_exactly(train: Train, sampled: bool) -> None:
    words = ["--config", "karate_gcn.yaml", "--trainer.accelerator", "cpu"]
    if sampled:  # four steps per epoch: the run stops inside the second
        words += [*SAGE, "--data.num_neighbors", "[2, 2]", "--data.batch_size", "1"]
    train(*words, "--trainer.max_epochs", "12", "--trainer.default_root_dir", "whole", small=False)
    for more in (["--trainer.max_steps", "7"], ["--trainer.max_epochs", "12", "--ckpt_path", "last"]):
        status, _, err = train(*words, *more, small=False)
        assert (status, err) == (0, "")
    assert (RUN / "metrics.csv").read_text() == (Path("whole") / RUN / "metrics.csv").read_text()


def test_data_that_are_not_here(train: Train, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RESEARCH_DATA_DIR", raising=False)
    status, _, err = train("--config", "cora_gcn.yaml", small=False)
    assert status == 2
    assert err == (
        "train.py: error: Cora is not in data/Planetoid/Cora/raw; add --data.download true to fetch it "
        "(0.6 MB from raw.githubusercontent.com)\n"
    )
    assert not Path("runs").exists()


def test_all_neighbours_are_the_whole_graph(train: Train) -> None:
    losses = {}
    for name, more in {"whole": [], "sampled": ["--data.num_neighbors", "[-1, -1]"]}.items():
        words = ["--config", "karate_gcn.yaml", *SAGE]
        words += ["--model.network.dropout", "0", "--trainer.max_epochs", "6", "--trainer.accelerator", "cpu"]
        status, _, err = train(*words, *more, "--trainer.default_root_dir", name, small=False)
        assert (status, err) == (0, "")
        rows = read_metrics(Path(name) / RUN / "metrics.csv")
        losses[name] = [row["train/loss"] for row in rows if "train/loss" in row]
    assert losses["sampled"] == pytest.approx(losses["whole"], rel=1e-4)


def test_the_docs_own_graph_trains(train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = (Path(__file__).parents[2] / "docs/graphs.md").read_text()
    code = re.search(r"```python\n(# my_graph.py.*?)```", page, re.DOTALL)
    assert code
    (tmp_path / "my_graph.py").write_text(code[1])
    monkeypatch.syspath_prepend(tmp_path)
    nodes = torch.arange(12)
    edges = torch.stack([nodes, (nodes + 3) % 12])  # of the same class
    torch.save({"x": torch.randn(12, 4), "edges": edges, "classes": nodes % 3, "split": nodes // 4}, "my_graph.pt")
    words = ["--config", "cora_graph_sage.yaml", "--data", "my_graph.MyGraph", "--data.num_neighbors", "[2, 2]"]
    status, out, err = train(*words, "--trainer.max_epochs", "2", "--trainer.accelerator", "cpu", small=False)
    assert (status, err) == (0, "")
    assert "test/accuracy" in out


def test_bad_fan_outs_are_one_line(train: Train) -> None:
    status, _, err = train("--config", "karate_gcn.yaml", "--data.num_neighbors", "[3, 0]", small=False)
    assert status == 2
    assert err == "train.py: error: fan-outs must be positive, or −1 for all neighbours, got [3, 0]\n"
    for network, message in {
        "graph_sage.GraphSAGE": "num_neighbors must have a number for each of the network's 2 layers, got [3]",
        "gcn.GCN": "GCN needs the degrees in the whole graph: leave num_neighbors out, or use GraphSAGE or GAT",
        "mlp.MLP": "num_neighbors samples neighbours, which this network does not use: leave it out",
    }.items():
        words = ["--model.network", f"lightning_modules.networks.{network}"]
        status, _, err = train("--config", "karate_gcn.yaml", *words, "--data.num_neighbors", "[3]", small=False)
        assert (status, err) == (2, f"train.py: error: {message}\n")
    assert not Path("runs").exists()
