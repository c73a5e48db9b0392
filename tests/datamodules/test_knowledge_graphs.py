"""Knowledge graphs: a folder of one's own, the published ones where they are, and files that are refused."""

import os
from pathlib import Path

import pytest
import torch

from datamodules.errors import DataError
from datamodules.knowledge_graphs import PUBLISHED, KnowledgeGraph
from datamodules.published import PUBLISHED_SETS

STAGED = Path(os.environ.get("RESEARCH_DATA_DIR", "")) / "KG"
TOY = {"train.txt": "a\tknows\tb\nb\tlikes\tc\n", "valid.txt": "c\tknows\ta\n", "test.txt": "a\tknows\tnew\n"}


@pytest.fixture
def toy(own_folder: Path) -> Path:
    for name, text in TOY.items():
        (own_folder / name).write_text(text)
    return own_folder


def test_a_folder_of_ones_own(toy: Path) -> None:
    (toy / "valid.txt").write_text("\ufeffc\tknows\ta \n", encoding="utf-8")  # a mark of the encoding, a blank
    data = KnowledgeGraph(path=str(toy))
    assert (data.num_nodes, data.num_relations) == (4, 4)  # "new" is a node, though no training triple has it
    links = data.links
    # a b c new are 0 1 2 3; knows likes are 0 1, their inverses 2 3.
    assert links.triples["train"].tolist() == [[0, 0, 1], [1, 1, 2], [1, 2, 0], [2, 3, 1]]
    assert links.triples["test"].tolist() == [[0, 0, 3], [3, 2, 0]]
    assert links.known["train"].tolist() == []
    everything = torch.cat(list(links.triples.values()))
    assert torch.equal(links.known["val"], everything)
    assert torch.equal(links.known["test"], everything)
    (batch,) = data.test_dataloader()
    assert (batch.heads.tolist(), batch.relations.tolist(), batch.targets.tolist()) == ([0, 3], [0, 2], [3, 0])
    assert batch.known[batch.known_rows == 0].tolist() == [1, 3]  # (a, knows, b) is true and no wrong target


def test_names_end_at_tabs_and_line_feeds_alone(toy: Path) -> None:
    plain = KnowledgeGraph(path=str(toy)).links
    for name, text in TOY.items():
        changed = text.replace("a\t", "a\x85\u2028\x0ca\t").replace("\ta\n", "\ta\x85\u2028\x0ca\n")
        (toy / name).write_bytes(changed.replace("\n", "\r\n\r\n").encode())
    changed_links = KnowledgeGraph(path=str(toy)).links
    assert changed_links.num_nodes == plain.num_nodes
    assert all(torch.equal(changed_links.triples[split], plain.triples[split]) for split in plain.triples)


@pytest.mark.parametrize("name", ["Nations", "Kinship", "UMLS"])
def test_published(name: str) -> None:
    nodes, relations, *triples = PUBLISHED[name].sizes
    if not (STAGED / PUBLISHED_SETS[name].folder.removeprefix("KG/")).is_dir():
        pytest.skip(f"{name}'s files are not here")
    data = KnowledgeGraph(name)  # type: ignore[arg-type]
    assert (data.num_nodes, data.num_relations) == (nodes, 2 * relations)
    assert [len(data.links.triples[split]) for split in ("train", "val", "test")] == [2 * n for n in triples]


def test_a_published_graph_that_is_not_whole(own_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RESEARCH_DATA_DIR", raising=False)
    folder = own_folder / "data" / PUBLISHED_SETS["UMLS"].folder
    folder.mkdir(parents=True)
    for name, text in TOY.items():
        (folder / name).write_text(text)
    with pytest.raises(DataError, match=r"umls is cut short or not UMLS: .* are 4, 2, 2, 1, 1 instead of 135, 46"):
        _ = KnowledgeGraph("UMLS").links


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        (
            "train.txt",
            b"a\tknows\tb\nb\tlik",
            r"train\.txt, line 2: expected three columns separated by tabs, got 'b\\tlik'",
        ),
        ("test.txt", b"a\tknows\t\n", r"test\.txt, line 1: expected three columns"),
        ("valid.txt", b"a\tkn\xff", r"valid\.txt is not UTF-8: the byte at offset 4 is 0xff"),
        ("train.txt", b"", "train.txt is empty"),
        ("train.txt", b"head\trelation\ttail\na\tknows\tb\n", r"train\.txt, line 1 is a header, 'head.*: remove it"),
        ("test.txt", None, r"test\.txt is missing"),
        ("test.txt", b"b\tlikes\tc\na\tlikes\tc\n", "2 links of the test split are in the train split, too"),
    ],
)
def test_files_that_are_refused(toy: Path, file: str, content: bytes | None, message: str) -> None:
    if content is None:
        (toy / file).unlink()
    else:
        (toy / file).write_bytes(content)
    with pytest.raises(DataError, match=message):
        KnowledgeGraph(path=str(toy)).num_nodes  # noqa: B018


def test_data_that_are_not_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RESEARCH_DATA_DIR", "elsewhere")
    with pytest.raises(
        DataError,
        match=r"WN18RR is not in elsewhere/KG/WordNet18RR/raw or data/KG/WordNet18RR/raw; add --data\.download true to",
    ):
        KnowledgeGraph("WN18RR").num_nodes  # noqa: B018
