"""Files of molecules: a small set made here, the published ones where they are, and what is refused."""

import configparser
import importlib.util
import os
import re
import shutil
from pathlib import Path

import pytest
import torch

from datamodules import molecule_files
from datamodules.errors import DataError
from datamodules.molecule_files import RDKIT_MISSING, SOURCES, read_graphs, read_tu_dataset, split_fingerprint
from datamodules.published import PUBLISHED_SETS

ROOT = Path(__file__).parents[2]
DATA = Path(os.environ.get("RESEARCH_DATA_DIR", ""))
HAS_RDKIT = importlib.util.find_spec("rdkit") is not None
# Two graphs: the edge 1–2, and the path 3–4–5.
SMALL = {
    "A": "1, 2\n2, 1\n3, 4\n4, 3\n4, 5\n5, 4\n",
    "graph_indicator": "1\n1\n2\n2\n2\n",
    "graph_labels": "1\n-1\n",
    "node_labels": "0\n1\n0\n2\n0\n",
    "edge_labels": "0\n0\n1\n1\n0\n0\n",
}


def write(folder: Path, changes: dict[str, str]) -> list[Path]:
    for part, text in (SMALL | changes).items():
        (folder / part).write_text(text)
    return [folder / part for part in SMALL]


def test_a_byte_order_mark_and_blank_lines_change_no_graph(own_folder: Path) -> None:
    changed = {part: f"\ufeff{text}\n\n".replace("\n", "\r\n") for part, text in SMALL.items()}
    plain, marked = (read_tu_dataset(write(own_folder, changes)) for changes in ({}, changed))
    assert split_fingerprint(plain) == split_fingerprint(marked)


def test_a_small_tu_dataset(own_folder: Path) -> None:
    first, second = read_tu_dataset(write(own_folder, {}))
    assert (first.num_nodes, first.y.tolist()) == (2, [1])
    assert (second.num_nodes, second.y.tolist()) == (3, [0])
    assert second.x.tolist() == [[1, 0, 0], [0, 0, 1], [1, 0, 0]]
    assert second.edge_index.tolist() == [[0, 1, 1, 2], [1, 0, 2, 1]]
    assert second.edge_attr.tolist() == [[0, 1], [0, 1], [1, 0], [1, 0]]
    assert split_fingerprint([first, second]) != split_fingerprint([second, first])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"node_labels": "0\n1\n"}, "node_labels has 2 labels instead of 5"),
        ({"node_labels": "0\n1\n2\n3\n9223372036854775807\n"}, "less than 1000 apart"),
        ({"edge_labels": "0\n"}, "edge_labels has 1 labels instead of 6"),
        ({"edge_labels": ""}, "edge_labels is empty"),
        ({"A": "1, 2\n2, 1\n3, 4\n4, 3\n4, 5\n5, 6\n"}, r"join nodes 1\.\.5"),
        ({"A": "1, 2\n2, 1\n3, 4\n4, 3\n4, 5\n5, 1\n"}, "leaves graph 2"),
        ({"graph_labels": "1\n-1\n1\n"}, r"of the graphs 1\.\.3"),
        ({"graph_labels": "1\nx\n"}, "could not convert"),
        ({"A": "1, 2, 3\n2, 1, 3\n"}, "A has 3 numbers per line instead of 2"),
        ({"A": "1\n2\n"}, "A has 1 numbers per line instead of 2"),
        ({"node_labels": "0, 1\n1, 1\n"}, "node_labels has 2 numbers per line instead of 1"),
    ],
)
def test_files_that_do_not_fit(changes: dict[str, str], message: str, own_folder: Path) -> None:
    with pytest.raises(ValueError, match=message):
        read_tu_dataset(write(own_folder, changes))


@pytest.mark.parametrize(("name", "graphs", "features"), [("MUTAG", 188, (7, 4)), ("PROTEINS", 1113, (3, 1))])
def test_published_classes(name: str, graphs: int, features: tuple[int, int]) -> None:
    if not (DATA / PUBLISHED_SETS[name].folder).is_dir():
        pytest.skip(f"{name}'s files are not here")
    read = read_graphs(name)
    assert len(read) == graphs
    assert (read[0].x.shape[1], read[0].edge_attr.shape[1]) == features
    assert {int(graph.y) for graph in read} == {0, 1}
    assert all(torch.equal(graph.x.sum(1), torch.ones(graph.num_nodes)) for graph in read)


@pytest.mark.skipif(not HAS_RDKIT, reason="rdkit is not installed (pip install -c constraints.txt '.[molecules]')")
def test_freesolv() -> None:
    if not (DATA / PUBLISHED_SETS["FreeSolv"].folder).is_dir():
        pytest.skip("FreeSolv's files are not here")
    graphs = read_graphs("FreeSolv")
    assert len(graphs) == 642
    assert graphs[0].y.tolist() == [pytest.approx(-11.01)]
    assert graphs[1].num_edges == 8  # CS(=O)(=O)Cl: four bonds
    assert set(graphs[1].x.sum(1).tolist()) == {9}  # nine properties, one code each


@pytest.mark.skipif(not HAS_RDKIT, reason="rdkit is not installed (pip install -c constraints.txt '.[molecules]')")
@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("C,1.5\n", "SAMPL.csv is cut short or not FreeSolv's: 1 graphs instead of 642"),
        ("C,1.5\nCC,\n", "is damaged: row 3: expected a molecule and a number, got 'CC' and ''"),
        ("C,1.5\nnot a molecule,1\n", "row 3: expected a molecule and a number, got 'not a molecule' and '1'"),
        ("C,1.5\nCC,1,2\n", "SAMPL.csv is damaged: row 3: expected 2 columns, as in the first line"),
        ("C,1.5\nCC", "row 3: expected a molecule and a number, got 'CC' and None"),
    ],
)
def test_tables_that_are_refused(rows: str, message: str, own_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RESEARCH_DATA_DIR", raising=False)
    folder = own_folder / "data" / PUBLISHED_SETS["FreeSolv"].folder
    folder.mkdir(parents=True)
    (folder / "SAMPL.csv").write_text(f"smiles,expt\n{rows}")
    with pytest.raises(DataError, match=message):
        read_graphs("FreeSolv")


def test_no_rdkit_is_one_line(own_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_rdkit(*_: object) -> None:
        raise ModuleNotFoundError("No module named 'rdkit'", name="rdkit")

    monkeypatch.delenv("RESEARCH_DATA_DIR", raising=False)
    monkeypatch.setattr(molecule_files, "from_smiles", no_rdkit)
    folder = own_folder / "data" / PUBLISHED_SETS["ESOL"].folder
    folder.mkdir(parents=True)
    (folder / "delaney-processed.csv").write_text(f"{','.join(SOURCES['ESOL'].columns or ())}\nC,1\n")
    with pytest.raises(
        DataError, match=r"rdkit, which is not installed: pip install -c constraints\.txt '\.\[molecules\]'"
    ):
        read_graphs("ESOL")


def test_files_that_are_missing_or_cut_short(own_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RESEARCH_DATA_DIR", raising=False)
    with pytest.raises(DataError, match=r"MUTAG is not in data/TUDataset/MUTAG/raw; add --data\.download true to"):
        read_graphs("MUTAG")
    folder = own_folder / "data" / PUBLISHED_SETS["MUTAG"].folder
    folder.mkdir(parents=True)
    for part, text in SMALL.items():
        (folder / f"MUTAG_{part}.txt").write_text(text)
    with pytest.raises(DataError, match="cut short or not MUTAG's: 2 graphs instead of 188"):
        read_graphs("MUTAG")
    (folder / "MUTAG_A.txt").unlink()
    with pytest.raises(DataError, match=r"MUTAG/raw lacks MUTAG_A.txt of MUTAG; add --data"):
        read_graphs("MUTAG")
    shutil.rmtree(folder)


def test_the_command_for_rdkit_names_an_extra_with_exact_versions() -> None:
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    extra = re.search(r"pip install -c constraints\.txt '\.\[(\w+)\]'", RDKIT_MISSING)[1]
    exact = [word.partition("==")[0] for word in (ROOT / "constraints.txt").read_text().split()]
    for package in setup["options.extras_require"][extra].split():
        assert package.partition(">")[0] in exact
