"""The fingerprint of data, and what every data module says of its split."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from datamodules.book import Book
from datamodules.fingerprint import fingerprint
from datamodules.knowledge_graphs import KnowledgeGraph
from datamodules.labelled_texts import LabelledTexts
from datamodules.molecules import Molecules
from datamodules.node_graphs import Karate
from datamodules.social_graphs import SocialGraph
from datamodules.step_stream import StepStreamDataModule
from datamodules.toy_tasks import BinaryPalindrome


def test_what_differs_has_another_fingerprint() -> None:
    numbers = torch.arange(4)
    parts: list[list[torch.Tensor | str]] = [
        [numbers],
        [numbers.int()],
        [numbers.view(2, 2)],
        [numbers.flip(0)],
        [numbers, numbers],
        [numbers.double().view(2, 2)],
        [numbers.double().view(2, 2).to_sparse_csr()],
        ["ab"],
        ["a", "b"],
        ["b", "a"],
        [],
    ]
    found = [fingerprint(part) for part in parts]
    assert len(set(found)) == len(found)
    assert fingerprint([numbers.clone()]) == found[0]
    assert fingerprint([torch.stack([numbers, numbers], 1)[:, 0]]) == found[0]  # not contiguous


def texts(folder: Path, word: str) -> str:
    lines = [f"{'train' if n % 3 else 'test'}\t{'ab'[n % 2]}\tnumber {n} {word}\n" for n in range(30)]
    return written(folder / "texts.tsv", "".join(lines))


def triples(folder: Path, word: str) -> str:
    for number, name in enumerate(("train", "valid", "test")):
        written(folder / f"{name}.txt", "".join(f"{n}\tknows\t{number}\n" for n in range(len(word))))
    return str(folder)


def pairs(folder: Path, word: str) -> str:
    return written(folder / "edges.txt", "".join(f"{n % len(word)} {n + 1}\n" for n in range(20)))


def book(folder: Path, word: str) -> str:
    return written(folder / "book.txt", f"A text about {word}. " * 20)


def written(path: Path, text: str) -> str:
    path.write_text(text)
    return str(path)


MODULES: dict[str, tuple[Callable[..., StepStreamDataModule], Callable[[Path, str], str], dict[str, Any]]] = {
    "book": (Book, book, {"val_fraction": 0.2, "test_fraction": 0.1}),
    "labelled texts": (LabelledTexts, texts, {"val_fraction": 0.3, "split_seed": 5}),
    "knowledge graph": (KnowledgeGraph, triples, {}),
    "social graph": (SocialGraph, pairs, {"val_fraction": 0.2, "test_fraction": 0.2, "split_seed": 5}),
}


@pytest.mark.parametrize("name", MODULES)
def test_a_split_is_its_content_and_its_settings(own_folder: Path, name: str) -> None:
    make, write, settings = MODULES[name]
    path = write(own_folder, "one")
    split = make(path=path).split
    assert make(path=path, seed=7).split == split
    for setting, value in settings.items():
        other = make(path=path, **{setting: value}).split
        assert other[setting] == value != split[setting]
    (own_folder / "elsewhere").mkdir()
    elsewhere = make(path=write(own_folder / "elsewhere", "one")).split
    assert elsewhere.pop("name") != split.pop("name")
    assert elsewhere == split
    assert make(path=write(own_folder, "another")).split["content"] != split["content"]


def test_splits_without_a_file() -> None:
    assert Karate(seed=1).split["content"] != Karate(seed=2).split["content"]
    assert Karate(seed=1).split == Karate([2, 2], seed=1).split
    assert BinaryPalindrome().split == {}
    assert BinaryPalindrome().state_dict() == {"batches_consumed": 0}
    assert Karate().state_dict()["split"] == Karate().split


def test_molecules() -> None:
    if not (Path(os.environ.get("RESEARCH_DATA_DIR", "")) / "TUDataset/MUTAG").is_dir():
        pytest.skip("MUTAG's files are not here")
    one, other = Molecules(split_number=0).split, Molecules(split_number=1).split
    assert (one["split_number"], other["split_number"]) == (0, 1)
    assert one["content"] != other["content"]
    assert Molecules(seed=10).split == one
