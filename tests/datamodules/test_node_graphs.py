"""Graphs of nodes: splits, checks, and Planetoid's files where they are."""

import os
import shutil
from pathlib import Path

import pytest
import torch

from datamodules.batches import NodeBatch
from datamodules.errors import DataError
from datamodules.node_graphs import Citations, Karate, find_planetoid

STAGED = Path(os.environ.get("RESEARCH_DATA_DIR", "")) / "Planetoid" / "Cora" / "raw"


def test_karate() -> None:
    data, other = Karate(seed=1), Karate(seed=2)
    graph = data.graph
    assert (data.num_features, data.num_classes) == (34, 4)
    masks = torch.stack([graph.train_mask, graph.val_mask, graph.test_mask])
    assert masks.sum(0).tolist() == [1] * 34
    assert masks.sum(1).tolist() == [4, 15, 15]
    assert not torch.equal(graph.val_mask, other.graph.val_mask)
    assert torch.equal(graph.val_mask, Karate(seed=1).graph.val_mask)


@pytest.mark.parametrize(
    ("name", "sizes"),  # as LINQS publishes them with the names; its 249 on AI are joined by 15 papers without a class
    [
        ("Cora", {"theory": 351, "case-based": 298, "genetic algorithms": 418, "neural networks": 818,
                  "probabilistic methods": 426, "reinforcement learning": 217, "rule learning": 180}),
        ("CiteSeer", {"agents": 596, "artificial intelligence": 249 + 15, "databases": 701, "machine learning": 590,
                      "information retrieval": 668, "human-computer interaction": 508}),
    ],
)  # fmt: skip
@pytest.mark.skipif(not STAGED.is_dir(), reason="Planetoid's files are not here")
def test_classes_have_the_sizes_that_their_names_have(name: str, sizes: dict[str, int]) -> None:
    data = Citations(name)
    assert dict(zip(data.class_names, data.graph.y.bincount().tolist(), strict=True)) == sizes


@pytest.mark.skipif(not STAGED.is_dir(), reason="Cora's files are not here")
def test_cora(own_folder: Path) -> None:
    data = Citations("Cora")
    graph = data.graph
    assert (graph.num_nodes, graph.num_edges, data.num_features, data.num_classes) == (2708, 10556, 1433, 7)
    assert [int(graph[f"{split}_mask"].sum()) for split in ("train", "val", "test")] == [140, 500, 1000]
    torch.testing.assert_close(graph.x.to_dense().sum(1), torch.ones(2708))
    assert not Path("data").exists(), "they are read where they are"


@pytest.mark.skipif(not STAGED.is_dir(), reason="Cora's files are not here")
def test_damaged_files_are_refused(own_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = own_folder / "data/Planetoid/Cora/raw"
    shutil.copytree(STAGED, folder)
    monkeypatch.delenv("RESEARCH_DATA_DIR")
    assert find_planetoid("Cora") == Path("data/Planetoid/Cora/raw")
    file = folder / "ind.cora.allx"
    file.chmod(0o644)
    file.write_bytes(file.read_bytes()[:1000])
    with pytest.raises(DataError, match=r"ind\.cora\.allx is damaged, or not Planetoid's; remove it"):
        find_planetoid("Cora")


def test_an_epoch_of_samples() -> None:
    data = Karate([2, 2], batch_size=3, seed=1)
    known = torch.nonzero(data.graph.train_mask)[:, 0].tolist()

    def nodes(batch: NodeBatch) -> list[int]:
        return batch.x.argmax(1).tolist()  # features are one-hot numbers of the nodes

    epochs = [[data.batch_of_step(step, rank=0) for step in (first, first + 1)] for first in (0, 2)]
    for batches in epochs:
        assert [batch.mask.tolist() for batch in batches] == [[True] * 2 + [False] * (len(b.y) - 2) for b in batches]
        assert sorted(node for batch in batches for node in nodes(batch)[:2]) == known
    assert len(list(data.train_dataloader())) == data.steps_per_epoch == 2
    again = Karate([2, 2], batch_size=3, seed=1).batch_of_step(2, rank=0)
    assert nodes(again) == nodes(epochs[1][0])
    assert [len(batch.y) for batch in data.val_dataloader()] == [34]


def test_the_whole_graph_is_brought_to_a_device_once() -> None:
    data, there = Karate(), torch.device("meta")
    (batch,) = data.train_dataloader()
    (other,) = data.val_dataloader()
    brought = data.transfer_batch_to_device(batch, there, 0)
    assert brought.x.device == there
    assert data.transfer_batch_to_device(other, there, 0).edge_index is brought.edge_index
    assert data.transfer_batch_to_device(batch, torch.device("cpu"), 0).x.device.type == "cpu"
