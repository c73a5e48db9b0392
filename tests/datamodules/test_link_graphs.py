"""Queries about a graph of four nodes: targets, what is left out, epochs that ask everything once."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from datamodules.batches import LinkBatch
from datamodules.errors import DataError
from datamodules.link_graphs import LinkGraph, Links, Targets

TRAIN = torch.tensor([[0, 0, 1], [0, 0, 2], [1, 1, 3], [3, 0, 0], [2, 1, 2], [0, 0, 1]])
VAL, TEST = torch.tensor([[0, 0, 3], [2, 0, 1]]), torch.tensor([[1, 1, 0]])


class Toy(LinkGraph):
    def load(self) -> Links:
        return Links(4, 2, {"train": TRAIN, "val": VAL, "test": TEST}, {"train": TRAIN[:0], "val": TRAIN, "test": VAL})


def pairs(batch: LinkBatch, rows: Tensor, tails: Tensor) -> set[tuple[int, int, int]]:
    return {(int(batch.heads[row]), int(batch.relations[row]), int(t)) for row, t in zip(rows, tails, strict=True)}


def triples(table: Tensor) -> set[tuple[int, ...]]:
    return {tuple(row) for row in table.tolist()}


def test_targets_are_found_by_their_query() -> None:
    targets = Targets.of(TRAIN, 2)
    rows, tails = targets.find(torch.tensor([7, 0, 1, 3, 0]))  # the first and the third are not asked in training
    assert (rows.tolist(), tails.tolist()) == ([1, 1, 3, 4, 4], [1, 2, 3, 1, 2])
    none, _ = Targets.of(TRAIN[:0], 2).find(torch.tensor([0, 7]))
    assert none.tolist() == []


@pytest.mark.parametrize("batch_size", [1, 2, 3, 100])
def test_an_epoch_has_every_query_once_in_another_order(batch_size: int) -> None:
    data = Toy(batch_size, seed=1)
    epochs = []
    for epoch in range(2):
        steps = range(epoch * data.steps_per_epoch, (epoch + 1) * data.steps_per_epoch)
        batches = [data.batch_of_step(step, rank=0) for step in steps]
        assert all(1 <= len(batch.heads) <= batch_size for batch in batches)
        asked = [pairs(batch, batch.target_rows, batch.targets) for batch in batches]
        assert set().union(*asked) == triples(TRAIN)
        assert sum(map(len, asked)) == 5, "one triple is there twice"
        epochs.append(torch.cat([batch.heads for batch in batches]).tolist())
    assert len(list(data.train_dataloader())) == data.steps_per_epoch == len(data.train_dataloader())
    again = Toy(batch_size, seed=1).batch_of_step(data.steps_per_epoch, rank=0)
    assert again.heads.tolist() == epochs[1][: len(again.heads)]
    assert epochs[0] != epochs[1]


def test_held_out_queries_and_what_is_left_out() -> None:
    data = Toy(1)
    for loader, held_out, known in ((data.val_dataloader(), VAL, TRAIN), (data.test_dataloader(), TEST, VAL)):
        batches = list(loader)
        assert set().union(*(pairs(batch, batch.target_rows, batch.targets) for batch in batches)) == triples(held_out)
        left_out = set().union(*(pairs(batch, batch.known_rows, batch.known) for batch in batches))
        asked = {triple[:2] for triple in triples(held_out)}
        assert left_out == {triple for triple in triples(known) if triple[:2] in asked}
        assert all(batch.edge_index is batches[0].edge_index for batch in batches)
        assert triples(torch.stack([batches[0].edge_index[0], batches[0].edge_type, batches[0].edge_index[1]], 1)) == (
            triples(TRAIN)
        )


@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_an_empty_split_is_refused(split: str, monkeypatch: pytest.MonkeyPatch) -> None:
    data = Toy()
    links = data.load()
    links.triples[split] = TRAIN[:0]
    load: Callable[[], Links] = lambda: links  # noqa: E731
    monkeypatch.setattr(data, "load", load)
    with pytest.raises(DataError, match=f"no link in its {split} split"):
        data.num_nodes  # noqa: B018


def test_the_edges_are_brought_to_a_device_once() -> None:
    data, there = Toy(), torch.device("meta")
    first, second = (data.transfer_batch_to_device(next(iter(data.val_dataloader())), there, 0) for _ in range(2))
    assert {part.device for part in first} == {there}
    assert first.edge_index is second.edge_index
    assert first.edge_type is second.edge_type
    assert first.edge_index.shape[1] == len(first.edge_type) > 0
