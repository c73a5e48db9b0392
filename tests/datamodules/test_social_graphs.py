"""Friendships: splits that share nothing in either direction, what is ranked, files that are refused."""

import gzip
import itertools
from pathlib import Path

import pytest
import torch

from datamodules.errors import DataError
from datamodules.social_graphs import SocialGraph, find_facebook


@pytest.fixture
def edges(own_folder: Path) -> Path:
    generator = torch.Generator().manual_seed(0)
    pairs = torch.randint(30, (200, 2), generator=generator).tolist()
    path = own_folder / "edges.txt"
    path.write_text("# who knows whom\n\n" + "".join(f"{a} {b}\n" for a, b in pairs))
    return path


def both_directions(links: torch.Tensor) -> set[tuple[int, int]]:
    assert links[:, 1].unique().tolist() == [0]
    return {(head, tail) for head, _, tail in links.tolist()}


def test_splits_share_no_friendship_in_either_direction(edges: Path) -> None:
    links = SocialGraph(str(edges), val_fraction=0.2, test_fraction=0.3).links
    splits = {split: both_directions(triples) for split, triples in links.triples.items()}
    for directed in splits.values():
        assert {(tail, head) for head, tail in directed} == directed
        assert all(head != tail for head, tail in directed)
    for one, other in itertools.combinations(splits.values(), 2):
        assert not one & other
    written = [tuple(map(int, line.split())) for line in edges.read_text().splitlines()[2:]]
    expected = {frozenset(pair) for pair in written if pair[0] != pair[1]}
    sizes = {split: len(directed) // 2 for split, directed in splits.items()}
    assert sum(sizes.values()) == len(expected)
    assert (sizes["val"], sizes["test"]) == (round(0.2 * len(expected)), round(0.3 * len(expected)))


def test_all_but_oneself_and_known_friends_are_ranked(edges: Path) -> None:
    links = SocialGraph(str(edges)).links
    oneself = {(node, node) for node in range(30)}
    train, val = both_directions(links.triples["train"]), both_directions(links.triples["val"])
    assert both_directions(links.known["train"]) == oneself
    assert both_directions(links.known["val"]) == oneself | train
    assert both_directions(links.known["test"]) == oneself | train | val


def test_the_split_has_a_seed_of_its_own(edges: Path) -> None:
    first, again, other = (
        SocialGraph(str(edges), seed=seed, split_seed=split_seed).links.triples["test"]
        for seed, split_seed in ((0, 0), (1, 0), (0, 1))
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("e.txt", b"a b\nc\n", r"e\.txt, line 2: expected two names, got 'c'"),
        ("e.txt", b"# nobody\na a\n", r"e\.txt has no friendships"),
        ("e.txt", b"a b\n", r"has 1 friendships: with .* none is left for val"),
        ("e.txt.gz", b"a b\n", r"cannot read .*e\.txt\.gz: Not a gzipped file"),
        ("e.txt.gz", gzip.compress(b"a b\n" * 1000)[:-9], r"cannot read .*e\.txt\.gz: Compressed file ended"),
        ("e.txt", None, r"e\.txt is missing"),
    ],
)
def test_files_that_are_refused(own_folder: Path, name: str, content: bytes | None, message: str) -> None:
    if content is not None:
        (own_folder / name).write_bytes(content)
    with pytest.raises(DataError, match=message):
        SocialGraph(str(own_folder / name)).num_nodes  # noqa: B018


def test_shares_leave_something(edges: Path) -> None:
    with pytest.raises(DataError, match=r"validation and test take 1\.1 of the links; none is left to train"):
        SocialGraph(str(edges), val_fraction=0.5, test_fraction=0.6)


def test_facebook(monkeypatch: pytest.MonkeyPatch) -> None:
    try:
        find_facebook()
    except DataError:
        pytest.skip("ego-Facebook is not here")
    data = SocialGraph()
    assert data.num_nodes == 4039
    assert sum(len(triples) for triples in data.links.triples.values()) == 2 * 88234
    monkeypatch.setenv("RESEARCH_DATA_DIR", "elsewhere")
    with pytest.raises(DataError, match=r"ego-Facebook is not in elsewhere/SNAP or data/SNAP; add --data\.down"):
        find_facebook()
