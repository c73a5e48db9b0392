"""Molecules as graphs, read from the files of MoleculeNet (ESOL, FreeSolv) and TUDataset (MUTAG, PROTEINS).

Legend: N atoms, E bonds (each in both directions), F and G features of an atom and of a bond.
"""

import csv
import hashlib
import importlib.util
import warnings
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import one_hot
from torch_geometric.data import Data
from torch_geometric.utils.smiles import e_map, from_smiles, x_map

from datamodules.download import find_files
from datamodules.errors import DataError
from datamodules.text_lines import file_lines

MAX_LABELS = 1000  # of nodes or of edges; each label gets a column
RDKIT_MISSING = "read with rdkit, which is not installed: pip install -c constraints.txt '.[molecules]'"


class Source(NamedTuple):
    """The content of the files of a data set.

    Args:
        graphs: number of graphs.
        columns: names of the columns of SMILES and target, if the file is a table of SMILES.
    """

    graphs: int
    columns: tuple[str, str] | None = None


SOURCES = {
    "ESOL": Source(1128, ("smiles", "measured log solubility in mols per litre")),
    "FreeSolv": Source(642, ("smiles", "expt")),
    "MUTAG": Source(188),
    "PROTEINS": Source(1113),
}


def read_graphs(name: str, download: bool = False) -> list[Data]:
    """Return the graphs of a data set: x [N, F], edge_index [2, E], edge_attr [E, G], y [1].

    y is float32 if the property is a quantity, int64 if it is a class.

    Args:
        name: name of the set.
        download: whether to fetch it if no data folder has it.

    Raises:
        DataError: if files are missing or damaged, or they hold SMILES and rdkit is not installed.
    """
    source = SOURCES[name]
    paths = find_files(name, download, lambda path: is_table(path, source))
    try:
        graphs = read_smiles(paths[0], *source.columns) if source.columns else read_tu_dataset(paths)
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] != "rdkit":
            raise
        raise DataError(f"{name} is {RDKIT_MISSING}, or --data.name MUTAG") from error
    except (ValueError, csv.Error) as error:
        where = paths[0] if source.columns else paths[0].parent
        raise DataError(f"{where} is damaged: {' '.join(str(error).split())}") from error
    if len(graphs) != source.graphs:
        raise DataError(f"{paths[0]} is cut short or not {name}'s: {len(graphs)} graphs instead of {source.graphs}")
    return graphs


def is_table(path: Path, source: Source) -> bool:
    """Return whether a file has the columns and the number of rows of a set."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = list(csv.DictReader(file))
    except (UnicodeDecodeError, csv.Error):
        return False
    return len(rows) == source.graphs and set(source.columns or ()) <= rows[0].keys()


def read_smiles(path: Path, smiles: str, target: str) -> list[Data]:
    """Return a graph for each row of a table, with the properties of atoms and bonds from PyG's `from_smiles`.

    Each property is a one-hot code over all values that PyG knows, so features do not depend on the data set.

    Args:
        path: a CSV file.
        smiles: the column of the molecules.
        target: the column of the quantity.

    Raises:
        ValueError: if a column is missing, a molecule cannot be read, or a quantity is not finite.
    """
    graphs: list[Data] = []
    with path.open(newline="", encoding="utf-8-sig") as file:
        rows = csv.DictReader(file)
        for column in (smiles, target):
            if column not in (rows.fieldnames or ()):
                raise ValueError(f"there is no column {column!r}")
        for number, row in enumerate(rows, 2):
            if None in row:  # what is beyond the last column
                raise ValueError(f"row {number}: expected {len(rows.fieldnames or ())} columns, as in the first line")
            graph, quantity = molecule((row[smiles] or "").strip()), _finite(row[target])
            if graph.num_nodes == 0 or quantity is None:
                given = f"{row[smiles]!r} and {row[target]!r}"
                raise ValueError(f"row {number}: expected a molecule and a number, got {given}")
            graph.y = torch.tensor([quantity])
            graphs.append(graph)
    return graphs


def molecule(smiles: str) -> Data:
    """Return the graph of a molecule; it has no nodes if the SMILES are not valid."""
    graph = from_smiles(smiles)
    graph.x, graph.edge_attr = _codes(graph.x, x_map), _codes(graph.edge_attr, e_map)
    return graph


def read_molecules(path: Path) -> tuple[list[str], list[Data]]:
    """Return the SMILES and the graphs of a file with a molecule in each line; blank lines are skipped.

    What follows the SMILES after a space, such as a name, is left out. The property y of each graph is NaN.

    Raises:
        DataError: if the file cannot be read, has no molecule, or a line is not SMILES; or rdkit is not installed.
    """
    if importlib.util.find_spec("rdkit") is None:
        raise DataError(f"SMILES are {RDKIT_MISSING}")
    lines = {number: line.split()[0] for number, line in enumerate(file_lines(path), 1) if line.strip()}
    if not lines:
        raise DataError(f"{path} has no molecule: it is empty, or all its lines are blank")
    graphs = []
    for number, smiles in lines.items():
        graphs.append(molecule(smiles))
        if graphs[-1].num_nodes == 0:
            raise DataError(f"{path}, line {number}: expected a molecule as SMILES, got {smiles[:60]!r}")
        graphs[-1].y = torch.tensor([torch.nan])
    return list(lines.values()), graphs


def _finite(text: str | None) -> float | None:
    try:
        value = float(text or "")
    except ValueError:
        return None
    return value if np.isfinite(value) else None


def _codes(values: Tensor, known: dict[str, list]) -> Tensor:
    """Return the one-hot codes of whole numbers [N, properties], concatenated."""
    widths = [len(names) for names in known.values()]
    return torch.cat([one_hot(column, width) for column, width in zip(values.T, widths, strict=True)], 1).float()


def read_tu_dataset(paths: list[Path]) -> list[Data]:
    """Return the graphs of a TUDataset, with labels of nodes and edges as one-hot codes.

    Args:
        paths: files of the edges, of the graph of each node, of the classes of graphs, of the labels of nodes and, if
            there are any, of the labels of edges.

    Raises:
        ValueError: if the files are inconsistent.
    """
    edges, (graph_of, classes, *labels) = _whole_numbers(paths[0], 2), [_whole_numbers(path) for path in paths[1:]]
    for path, own, wanted in zip(paths[3:], labels, (graph_of, edges), strict=False):
        if len(own) != len(wanted):
            raise ValueError(f"{path.name} has {len(own)} labels instead of {len(wanted)}")
    if not 1 <= edges.min() <= edges.max() <= len(graph_of):
        raise ValueError(f"edges must join nodes 1..{len(graph_of)}")
    if not np.array_equal(np.unique(graph_of), np.arange(1, len(classes) + 1)) or (np.diff(graph_of) < 0).any():
        raise ValueError(f"nodes must be of the graphs 1..{len(classes)}, in this order")
    x = _one_hot(labels[0])
    edge_attr = _one_hot(labels[1]) if len(labels) > 1 else torch.ones(len(edges), 1)
    y = torch.from_numpy(np.unique(classes, return_inverse=True)[1])
    first = np.searchsorted(graph_of, np.arange(1, len(classes) + 2))  # node at which each graph begins
    edge_graph = graph_of[edges[:, 0] - 1] - 1
    order = np.argsort(edge_graph, kind="stable")
    bounds = np.searchsorted(edge_graph[order], np.arange(len(classes) + 1))
    graphs = []
    for g in range(len(classes)):
        own = order[bounds[g] : bounds[g + 1]]
        edge_index = torch.from_numpy(edges[own].T - 1 - first[g]).contiguous()
        nodes = x[first[g] : first[g + 1]]
        if edge_index.numel() and not 0 <= int(edge_index.min()) <= int(edge_index.max()) < len(nodes):
            raise ValueError(f"an edge leaves graph {g + 1}")
        graphs.append(Data(x=nodes, edge_index=edge_index, edge_attr=edge_attr[own], y=y[g : g + 1]))
    return graphs


def _whole_numbers(path: Path, columns: Literal[1, 2] = 1) -> np.ndarray:
    """Return the numbers of a file [n], or [n, 2] if it has two columns."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # numpy's, of an empty file
        try:
            values = np.loadtxt(path, dtype=np.int64, delimiter=",", ndmin=columns, encoding="utf-8-sig")
        except ValueError as error:
            raise ValueError(f"{path.name}: {error}") from error
    if not len(values):
        raise ValueError(f"{path.name} is empty")
    if values.shape[1:] != (columns,)[: columns - 1]:
        raise ValueError(f"{path.name} has {values.shape[-1]} numbers per line instead of {columns}")
    return values


def _one_hot(labels: np.ndarray) -> Tensor:
    if int(labels.max()) - int(labels.min()) >= MAX_LABELS:
        raise ValueError(f"labels are numbers less than {MAX_LABELS} apart, got {labels.min()} and {labels.max()}")
    return one_hot(torch.from_numpy(labels - labels.min())).float()


def split_fingerprint(graphs: list[Data]) -> str:
    """Return a hash of the sizes and targets of graphs in order. A stored split has it, and fits these graphs only."""
    facts = [(graph.num_nodes, graph.num_edges, round(float(graph.y), 4)) for graph in graphs]
    return hashlib.sha256(repr(facts).encode()).hexdigest()[:16]
