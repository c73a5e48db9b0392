"""Graphs whose nodes have features and classes: Zachary's karate club and the citation graphs of Planetoid.

A batch is the whole graph, or a sampled neighbourhood of some training nodes.
Legend: N nodes, E edges, F features, C classes.
"""

import functools
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, Literal

import torch
from jsonargparse.typing import PositiveInt
from torch import Tensor
from torch.utils.data import DataLoader
from torch_geometric.data import Data
from torch_geometric.datasets import KarateClub
from torch_geometric.io import read_planetoid_data
from torch_geometric.loader import NodeLoader

from datamodules.batches import NodeBatch
from datamodules.download import find_files, is_published
from datamodules.errors import DataError
from datamodules.fingerprint import fingerprint
from datamodules.graph_checks import check_graph, to_usual_types
from datamodules.neighbor_sampler import check_fan_outs, make_sampler
from datamodules.published import PUBLISHED_SETS
from datamodules.step_stream import EpochStreamDataModule, step_generator


class NodeGraph(EpochStreamDataModule, ABC):
    """One graph. Each step has the whole graph or a sampled neighbourhood; validation and test have the whole graph.

    Args:
        num_neighbors: neighbours to draw at each hop, a number for each layer of the network, −1 for all; None for the
            whole graph in every step.
        batch_size: training nodes of a step, if neighbourhoods are sampled.
        seed: seed of the samples, and of the split if it is random; train.py passes seed_everything.

    Raises:
        DataError: if a fan-out is neither positive nor −1.
    """

    batch_type = NodeBatch

    def __init__(self, num_neighbors: list[int] | None = None, batch_size: PositiveInt = 32, seed: int = 42) -> None:
        super().__init__(batch_size, seed)
        if num_neighbors is not None:
            check_fan_outs(num_neighbors)
        self.num_neighbors = num_neighbors

    @functools.cached_property
    def graph(self) -> Data:
        """The graph, checked: x float32, edge_index and y int64.

        Raises:
            DataError: if `check_graph` refuses it.
        """
        with torch.inference_mode(False):  # what an evaluation loads first must serve a later training
            graph = to_usual_types(self.load())
        check_graph(graph)
        return graph

    @abstractmethod
    def load(self) -> Data:
        """Return the graph with its masks."""

    @property
    def split(self) -> dict[str, Any]:
        """The graph with the nodes of every split."""
        return {"name": type(self).__name__, "content": fingerprint(self.shared_tensors)}

    @property
    def num_features(self) -> int:
        """Number F of a node's features."""
        return self.graph.x.shape[1]

    @property
    def num_classes(self) -> int:
        """Number C of classes."""
        return int(self.graph.y.max()) + 1

    @property
    def class_names(self) -> tuple[str, ...] | None:
        """Names of the classes; None if they have only numbers."""
        return None

    def count(self, split: str) -> int:
        """Return the number of training nodes if neighbourhoods are sampled; otherwise 1, the graph."""
        return len(self._seeds) if self._sampled(split) else 1

    def examples(self, split: str, chosen: Tensor) -> NodeBatch:
        """Return the graph, or a sampled neighbourhood of the chosen training nodes."""
        if not self._sampled(split):
            return NodeBatch(self.graph.x, self.graph.edge_index, self.graph.y, self.graph[f"{split}_mask"])
        part = self._loader(self._seeds[chosen])  # the training nodes come first
        return NodeBatch(part.x, part.edge_index, part.y, torch.arange(part.num_nodes) < part.batch_size)

    def predict_dataloader(self) -> DataLoader:
        """Return the graph with all its nodes, also those that no split has."""
        every = torch.ones_like(self.graph.test_mask)
        batch = NodeBatch(self.graph.x, self.graph.edge_index, self.graph.y, every)
        return DataLoader([batch], batch_size=None)  # type: ignore[arg-type]  # a list is a data set

    def columns(self) -> dict[str, list[str]]:
        """Return the number, the split and the class of every node."""
        splits = [""] * len(self.graph.y)
        for split in ("train", "val", "test"):
            for node in torch.nonzero(self.graph[f"{split}_mask"])[:, 0].tolist():
                splits[node] = split
        names = self.class_names
        classes = [names[label] if names else str(label) for label in self.graph.y.tolist()]
        return {"node": [str(node) for node in range(len(splits))], "split": splits, "class": classes}

    @property
    def shared_tensors(self) -> tuple[Tensor, ...]:
        """The whole graph."""
        return tuple(self.graph[name] for name in ("x", "edge_index", "y", "train_mask", "val_mask", "test_mask"))

    def batch_of_step(self, step: int, rank: int) -> NodeBatch:
        """Return the batch of a step; sampled neighbourhoods are a function of seed, process and step."""
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(int(step_generator(self.seed, rank, step).integers(2**63)))
            return super().batch_of_step(step, rank)

    def _sampled(self, split: str) -> bool:
        return split == "train" and self.num_neighbors is not None

    @functools.cached_property
    def _seeds(self) -> Tensor:
        return torch.nonzero(self.graph.train_mask)[:, 0]

    @functools.cached_property
    def _loader(self) -> NodeLoader:
        assert self.num_neighbors is not None
        graph = self.graph.clone()
        graph.x = graph.x.to_dense()
        return NodeLoader(graph, make_sampler(graph, self.num_neighbors))


class Karate(NodeGraph):
    """Zachary's karate club: 34 members, 78 friendships, 4 groups. PyG includes it, so it needs no file.

    The features of a member are its one-hot number. One member of each group trains. Half of the others, drawn by the
    seed, validate, and half test.
    """

    def load(self) -> Data:
        """Return the graph."""
        graph = KarateClub()[0]
        others = torch.nonzero(~graph.train_mask)[:, 0]
        others = others[torch.randperm(len(others), generator=torch.Generator().manual_seed(self.seed))]
        for name, nodes in {"val_mask": others[::2], "test_mask": others[1::2]}.items():
            graph[name] = torch.zeros_like(graph.train_mask).index_fill_(0, nodes, True)
        return graph

    @property
    def split(self) -> dict[str, Any]:
        """The graph and the seed of the split."""
        return {**super().split, "name": "the karate club", "seed": self.seed}


# Planetoid's files have numbers only. The names follow from the published sizes of the classes.
CLASS_NAMES = {
    "Cora": (
        "theory", "reinforcement learning", "genetic algorithms", "neural networks", "probabilistic methods",
        "case-based", "rule learning",
    ),
    "CiteSeer": (
        "artificial intelligence", "machine learning", "information retrieval", "databases", "agents",
        "human-computer interaction",
    ),
}  # fmt: skip


class Citations(NodeGraph):
    """Planetoid's citation graphs with the public split: 20 labels per class, 500 validation nodes, 1000 test nodes.

    Features are bags of words, divided by their sum. They are sparse CSR tensors: about 1 % are not zero.

    Args:
        name: Cora, CiteSeer or PubMed.
        download: whether to fetch the graph if no data folder has it.
        num_neighbors: neighbours to draw at each hop, see `NodeGraph`.
        batch_size: training nodes of a step, if neighbourhoods are sampled.
        seed: seed of the samples; the split is fixed.

    Raises:
        DataError: if the files are missing, or are not the published ones.
    """

    def __init__(
        self,
        name: Literal["Cora", "CiteSeer", "PubMed"] = "Cora",
        download: bool = False,
        num_neighbors: list[int] | None = None,
        batch_size: PositiveInt = 32,
        seed: int = 42,
    ) -> None:
        super().__init__(num_neighbors, batch_size, seed)
        self.dataset, self.download = name, download

    @property
    def class_names(self) -> tuple[str, ...] | None:
        """Names of the classes, which are known for Cora and CiteSeer."""
        return CLASS_NAMES.get(self.dataset)

    def load(self) -> Data:
        """Return the graph."""
        graph = read_planetoid_data(str(find_planetoid(self.dataset, self.download)), self.dataset)
        graph.x = (graph.x / graph.x.sum(1, keepdim=True).clamp(min=1)).to_sparse_csr()
        return graph

    @property
    def split(self) -> dict[str, Any]:
        """The graph; it has one split."""
        return {**super().split, "name": self.dataset}


def find_planetoid(name: str, download: bool = False) -> Path:
    """Return the folder with the files of a Planetoid graph. They are pickles, which can run code, so all are checked.

    Raises:
        DataError: if they are missing, or are not the published ones.
    """
    paths = find_files(name, download)
    for path, known in zip(paths, PUBLISHED_SETS[name].files.values(), strict=True):
        if known is None or not is_published(path, known):
            raise DataError(f"{path} is damaged, or not Planetoid's; remove it")
    return paths[0].parent
