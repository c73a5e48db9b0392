"""Data sets of graphs that have a property each: solubilities (ESOL, FreeSolv), classes (MUTAG, PROTEINS).

Legend: B graphs, N nodes, E edges, F and G features of a node and of an edge.
"""

import functools
from pathlib import Path
from typing import Any, Literal

import torch
from jsonargparse.typing import NonNegativeInt, PositiveInt
from torch_geometric.data import Batch, Data

from datamodules.batches import GraphBatch
from datamodules.errors import DataError
from datamodules.fingerprint import fingerprint
from datamodules.molecule_files import SOURCES, read_graphs, read_molecules
from datamodules.molecule_splits import KINDS, Kind, read_splits
from datamodules.step_stream import EpochStreamDataModule


class Molecules(EpochStreamDataModule):
    """Graphs of a data set, in one of its stored splits.

    Args:
        name: ESOL (log-solubility in water, mol/l), FreeSolv (hydration free energy, kcal/mol), MUTAG (mutagenic or
            not) or PROTEINS (enzyme or not). The first two need rdkit.
        download: whether to fetch the set if no data folder has it.
        split: for a quantity random (the default) or scaffold, with three splits each of 80, 10 and 10 %. For a class
            folds: ten-fold cross-validation, in which the fold after the test fold validates.
        split_number: number of the stored split; by default the seed modulo the number of splits, so that a study over
            seeds is a study over splits.
        batch_size: graphs of a step.
        seed: seed of the order of the graphs; train.py passes seed_everything.
    """

    batch_type = GraphBatch

    def __init__(
        self,
        name: Literal["ESOL", "FreeSolv", "MUTAG", "PROTEINS"] = "MUTAG",
        download: bool = False,
        split: Kind | None = None,
        split_number: NonNegativeInt | None = None,
        batch_size: PositiveInt = 32,
        seed: int = 42,
    ) -> None:
        super().__init__(batch_size, seed)
        self.dataset, self.download = name, download
        self.smiles: list[str] = []  # of new molecules
        self.kind, self.split_number = split or KINDS[name][0], split_number

    @functools.cached_property
    def graphs(self) -> list[Data]:
        """All graphs of the set."""
        return read_graphs(self.dataset, self.download)

    @functools.cached_property
    def parts(self) -> dict[str, list[int]]:
        """The numbers of the graphs of "train", "val" and "test".

        Raises:
            DataError: if the split does not exist, or does not fit the graphs.
        """
        _, split = self._stored
        held_out = {*split["val"], *split["test"]}
        return {"train": [n for n in range(len(self.graphs)) if n not in held_out], **split}

    @property
    def split(self) -> dict[str, Any]:
        """The graphs, kind of the split and its number."""
        numbers = torch.tensor([n for split in ("train", "val", "test") for n in self.parts[split]])
        parts = (part for graph in self.graphs for part in (graph.x, graph.edge_index, graph.edge_attr, graph.y))
        return {
            "name": self.dataset,
            "content": fingerprint([numbers, *parts]),
            "split": self.kind,
            "split_number": self._stored[0],
        }

    @functools.cached_property
    def _stored(self) -> tuple[int, dict[str, list[int]]]:
        splits = read_splits(self.dataset, self.kind, self.graphs)
        number = self.seed % len(splits) if self.split_number is None else self.split_number
        if number >= len(splits):
            raise DataError(f"split_number must be 0..{len(splits) - 1} ({self.dataset}, {self.kind}), got {number}")
        return number, splits[number]

    @property
    def num_features(self) -> int:
        """Width F of a node's features."""
        return self.graphs[0].x.shape[1]

    @property
    def num_edge_features(self) -> int:
        """Width G of an edge's features."""
        return self.graphs[0].edge_attr.shape[1]

    @property
    def _train_targets(self) -> torch.Tensor:
        """The properties of the training graphs [n]."""
        return torch.cat([self.graphs[number].y for number in self.parts["train"]])

    @functools.cached_property
    def num_outputs(self) -> int:
        """Number of classes among the training graphs, or 1 for a quantity."""
        y = self._train_targets
        return 1 if y.is_floating_point() else int(y.max()) + 1

    @functools.cached_property
    def target_mean(self) -> float | None:
        """Mean of a quantity over the training graphs; None for a class."""
        y = self._train_targets
        return float(y.mean()) if y.is_floating_point() else None

    @functools.cached_property
    def target_std(self) -> float | None:
        """Standard deviation of a quantity over the training graphs; None for a class."""
        y = self._train_targets
        return float(y.std()) if y.is_floating_point() else None

    def count(self, split: str) -> int:
        """Return the number of graphs of a split."""
        return len(self.parts[split])

    def examples(self, split: str, chosen: torch.Tensor) -> GraphBatch:
        """Return a batch of the graphs of a split, by their places in it."""
        joined = Batch.from_data_list([self.graphs[self.parts[split][place]] for place in chosen.tolist()])
        return GraphBatch(joined.x, joined.edge_index, joined.edge_attr, joined.batch, joined.num_graphs, joined.y)

    def reader(self) -> dict[str, Any]:
        """Return the number of classes, and mean and standard deviation of a quantity."""
        return {"num_outputs": self.num_outputs, "target_mean": self.target_mean, "target_std": self.target_std}

    def read_new(self, path: Path, reader: dict[str, Any]) -> None:
        """Read a file with a molecule as SMILES in each line."""
        if SOURCES[self.dataset].columns is None:
            raise DataError(f"the graphs of {self.dataset} are not made from SMILES; leave --examples out")
        self.smiles, self.graphs = read_molecules(path)
        self.parts, self.predicted = {"new": list(range(len(self.graphs)))}, "new"
        self.num_outputs = reader["num_outputs"]
        self.target_mean, self.target_std = reader["target_mean"], reader["target_std"]

    def columns(self) -> dict[str, list[str]]:
        """Return each new molecule, or the number of each graph and its property."""
        if self.predicted == "new":
            return {"molecule": self.smiles}
        numbers = self.parts[self.predicted]
        known = [self.graphs[number].y.item() for number in numbers]
        return {"graph": list(map(str, numbers)), "property": [f"{value:g}" for value in known]}

    @property
    def eval_batch_size(self) -> int:
        """Number of graphs of a batch in an evaluation."""
        return 256
