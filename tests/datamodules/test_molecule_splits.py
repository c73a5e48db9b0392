"""Splits: disjoint, covering, without a shared scaffold, as stored."""

import importlib.util
import json
import os
from pathlib import Path

import pytest
import torch
from torch_geometric.data import Data

from datamodules import molecule_splits
from datamodules.errors import DataError
from datamodules.molecule_files import SOURCES, read_graphs
from datamodules.molecule_splits import (
    FOLDER,
    KINDS,
    bemis_murcko,
    make_splits,
    nested_folds,
    random_split,
    read_splits,
    scaffold_split,
    write_splits,
)
from datamodules.published import PUBLISHED_SETS

DATA = Path(os.environ.get("RESEARCH_DATA_DIR", ""))
STORED = [(name, kind) for name, kinds in KINDS.items() for kind in kinds]
NEEDS_RDKIT = pytest.mark.skipif(
    importlib.util.find_spec("rdkit") is None,
    reason="rdkit is not installed (pip install -c constraints.txt '.[molecules]')",
)


@pytest.mark.parametrize(("name", "kind"), STORED)
def test_stored_splits_are_disjoint_and_of_the_right_size(name: str, kind: str) -> None:
    content = json.loads((FOLDER / f"{name}_{kind}.json").read_text())
    count = SOURCES[name].graphs
    assert content["graphs"] == count
    assert len(content["splits"]) == (10 if kind == "folds" else 3)
    for split in content["splits"]:
        held_out = split["val"] + split["test"]
        assert len(held_out) == len(set(held_out))
        assert 0 <= min(held_out) <= max(held_out) < count
        assert abs(len(split["val"]) - count / 10) <= 1
        assert abs(len(split["test"]) - count / 10) <= 1
    if kind == "folds":
        assert sorted(number for split in content["splits"] for number in split["test"]) == list(range(count))


def test_random_splits_depend_on_the_seed_alone() -> None:
    assert random_split(50, 0) == random_split(50, 0) != random_split(50, 1)


def test_folds_have_equal_shares_of_the_classes() -> None:
    classes = [0] * 40 + [1] * 20
    for split in nested_folds(classes, seed=3):
        assert sum(classes[number] for number in split["test"]) == 2
        assert not set(split["val"]) & set(split["test"])


def test_molecules_of_a_scaffold_stay_together() -> None:
    scaffolds = [str(number // 3) for number in range(100)] + ["large"] * 50
    split = scaffold_split(scaffolds, seed=1)
    parts = {name: {scaffolds[number] for number in numbers} for name, numbers in split.items()}
    held_out = {*split["val"], *split["test"]}
    train = {scaffold for number, scaffold in enumerate(scaffolds) if number not in held_out}
    assert not parts["val"] & parts["test"]
    assert not (parts["val"] | parts["test"]) & train
    assert "large" in train
    assert split != scaffold_split(scaffolds, seed=2)


@NEEDS_RDKIT
def test_scaffolds() -> None:
    assert bemis_murcko("CCO") == ""
    assert bemis_murcko("Cc1ccccc1O") == bemis_murcko("c1ccccc1") == "c1ccccc1"


@NEEDS_RDKIT
@pytest.mark.filterwarnings("ignore::DeprecationWarning:rdkit")
def test_stored_scaffold_splits_share_no_scaffold() -> None:
    if not (DATA / PUBLISHED_SETS["FreeSolv"].folder).is_dir():
        pytest.skip("FreeSolv's files are not here")
    graphs = read_graphs("FreeSolv")
    scaffolds = [bemis_murcko(graph.smiles) for graph in graphs]
    for split in read_splits("FreeSolv", "scaffold", graphs):
        train = set(range(len(graphs))) - {*split["val"], *split["test"]}
        kinds = [{scaffolds[number] for number in part} for part in (train, split["val"], split["test"])]
        assert sum(map(len, kinds)) == len(set.union(*kinds))
    assert make_splits(graphs, "scaffold") == read_splits("FreeSolv", "scaffold", graphs)
    assert make_splits(graphs, "random") == read_splits("FreeSolv", "random", graphs)


def test_stored_folds_are_those_that_the_command_makes() -> None:
    if not (DATA / PUBLISHED_SETS["MUTAG"].folder).is_dir():
        pytest.skip("MUTAG's files are not here")
    graphs = read_graphs("MUTAG")
    assert make_splits(graphs, "folds") == read_splits("MUTAG", "folds", graphs)


def test_splits_that_do_not_fit(own_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    graphs = [Data(x=torch.ones(n + 1, 1), edge_index=torch.zeros(2, 0), y=torch.tensor([n % 2])) for n in range(40)]
    monkeypatch.setattr(molecule_splits, "FOLDER", own_folder)
    file = own_folder / "MUTAG_folds.json"
    write_splits(file, "folds", graphs)
    assert read_splits("MUTAG", "folds", graphs) == make_splits(graphs, "folds")
    with pytest.raises(DataError, match="does not fit the graphs of MUTAG"):
        read_splits("MUTAG", "folds", graphs[::-1])
    file.write_text(file.read_text()[:200])
    with pytest.raises(DataError, match=r"MUTAG_folds.json is damaged"):
        read_splits("MUTAG", "folds", graphs)
    with pytest.raises(DataError, match="MUTAG has no scaffold split; it has folds"):
        read_splits("MUTAG", "scaffold", graphs)
