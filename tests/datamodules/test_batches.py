"""Each data module makes the type of batch that it names; batches are pickled and moved whole."""

import pickle
from typing import Any

import pytest
import torch
from torch import Tensor

from datamodules import batches
from datamodules.book import Book
from datamodules.labelled_texts import LabelledTexts
from datamodules.link_graphs import LinkGraph, Links
from datamodules.node_graphs import Karate
from datamodules.step_stream import StepStreamDataModule
from datamodules.toy_tasks import BaumSweet, BinaryPalindrome, RandomCombinations


class Triangle(LinkGraph):
    def load(self) -> Links:
        triples = torch.tensor([[0, 0, 1], [1, 0, 2], [2, 0, 0]])
        splits = dict(zip(("train", "val", "test"), triples.split(1), strict=True))
        return Links(3, 1, splits, dict.fromkeys(splits, triples[:0]))


CASES = {
    "palindrome": (lambda: BinaryPalindrome(4, 8), batches.SequenceBatch),
    "Baum-Sweet": (lambda: BaumSweet(3, 8), batches.SequenceBatch),
    "combinations": (lambda: RandomCombinations(4, 8), batches.SequenceBatch),
    "book": (lambda: Book(length=5, batch_size=4), batches.TextBatch),
    "streams": (lambda: Book(length=5, batch_size=4, feed="streams"), batches.TextBatch),
    "club": (Karate, batches.NodeBatch),
    "sampled club": (lambda: Karate([2, 2], batch_size=2), batches.NodeBatch),
    "links": (lambda: Triangle(2), batches.LinkBatch),
    "texts": (lambda: LabelledTexts(batch_size=4), batches.LabelledTextBatch),
}


def parts(batch: Any) -> list[Any]:
    return [part.tolist() if isinstance(part, Tensor) else part for part in batch]


@pytest.mark.parametrize("case", CASES)
def test_batches_have_their_type(case: str) -> None:
    make, kind = CASES[case]
    data: StepStreamDataModule = make()
    assert data.batch_type is kind
    batch = next(iter(data.train_dataloader()))
    assert type(batch) is kind
    again = pickle.loads(pickle.dumps(batch))
    assert type(again) is kind
    assert parts(again) == parts(batch)
    moved = data.transfer_batch_to_device(batch, torch.device("meta"), 0)
    assert type(moved) is kind
    assert {part.device.type for part in moved if isinstance(part, Tensor)} == {"meta"}


def test_a_copied_data_module_shares_its_own_tensors() -> None:
    data, device = Karate(), torch.device("cpu")
    batch = next(iter(data.train_dataloader()))
    data.transfer_batch_to_device(batch, device, 0)
    other = pickle.loads(pickle.dumps(data))
    mine = next(iter(other.train_dataloader()))
    assert other.transfer_batch_to_device(mine, device, 0).x is mine.x
