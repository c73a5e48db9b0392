"""Base class of graphs whose missing links are predicted.

A link is a triple (head, relation, tail) of numbers. Its query is (head, relation, ?). In training the targets of a
query are the tails of all its training links. In validation and test they are the tails of its held-out links; tails of
links that are known already are left out of the ranking.
Legend: N nodes, R relations, n triples, Q queries of a split, B queries of a batch, A targets, K known tails, E edges.
"""

import functools
import itertools
from abc import ABC, abstractmethod
from typing import Any, NamedTuple, Self

import torch
from jsonargparse.typing import PositiveInt
from torch import Tensor

from datamodules.batches import LinkBatch
from datamodules.errors import DataError
from datamodules.fingerprint import fingerprint
from datamodules.step_stream import EpochStreamDataModule


class Targets(NamedTuple):
    """The tails of triples, grouped by query. A query is the number head · R + relation.

    Args:
        queries: the queries in ascending order, each once [Q].
        starts: first place of each query in `tails`, and the length of `tails` [Q + 1].
        tails: tails of all queries, concatenated [n].
    """

    queries: Tensor
    starts: Tensor
    tails: Tensor

    @classmethod
    def of(cls, triples: Tensor, num_relations: int) -> Self:
        """Group triples [n, 3] by query; equal triples count once."""
        triples = torch.unique(triples, dim=0)  # in order of head, relation, tail
        queries, counts = torch.unique_consecutive(triples[:, 0] * num_relations + triples[:, 1], return_counts=True)
        return cls(queries, torch.cat([counts.new_zeros(1), counts.cumsum(0)]), triples[:, 2].contiguous())

    def find(self, queries: Tensor) -> tuple[Tensor, Tensor]:
        """Return the tails of queries [B]: for each tail its place in `queries` [A], and the tails [A].

        A query that is not in the table has none.
        """
        place = torch.searchsorted(self.queries, queries)
        there = torch.cat([self.queries, self.queries.new_full((1,), -1)])[place] == queries
        place = place.where(there, 0)
        counts = torch.diff(self.starts, append=self.starts[-1:])[place] * there
        rows = torch.arange(len(queries)).repeat_interleave(counts)
        slots = torch.arange(len(rows)) + (self.starts[place] - counts.cumsum(0) + counts)[rows]
        return rows, self.tails[slots]


class Links(NamedTuple):
    """The links of a graph. Triples are [n, 3]: head, relation, tail.

    Args:
        num_nodes: number N of nodes.
        num_relations: number R of relations.
        triples: triples of the train, val and test split, in each direction in which they are queried.
        known: triples that are left out of the ranking of each split.
    """

    num_nodes: int
    num_relations: int
    triples: dict[str, Tensor]
    known: dict[str, Tensor]


class LinkGraph(EpochStreamDataModule, ABC):
    """Queries about the links of one graph. An epoch has every training query once, in a random order of its own.

    Args:
        batch_size: queries B of a batch, on each process.
        seed: seed of the order; train.py passes seed_everything.
    """

    batch_type = LinkBatch

    def __init__(self, batch_size: PositiveInt = 512, seed: int = 42) -> None:
        super().__init__(batch_size, seed)

    @abstractmethod
    def load(self) -> Links:
        """Return the graph."""

    @functools.cached_property
    def links(self) -> Links:
        """The graph, checked.

        Raises:
            DataError: if a split is empty, or has a link of another split.
        """
        links = self.load()
        numbers = {}  # of each link
        for split, triples in links.triples.items():
            if not len(triples):
                raise DataError(f"the graph has no link in its {split} split")
            head, relation, tail = triples.T
            numbers[split] = ((head * links.num_relations + relation) * links.num_nodes + tail).unique()
        for one, other in itertools.combinations(numbers, 2):
            if shared := int(torch.isin(numbers[other], numbers[one]).sum()):
                raise DataError(f"{shared} links of the {other} split are in the {one} split, too; each belongs in one")
        return links

    @property
    def split(self) -> dict[str, Any]:
        """The links of every split."""
        return {"content": fingerprint(self.links.triples[split] for split in ("train", "val", "test"))}

    @property
    def num_nodes(self) -> int:
        """Number N of nodes."""
        return self.links.num_nodes

    @property
    def num_relations(self) -> int:
        """Number R of relations, each direction counted."""
        return self.links.num_relations

    @functools.cached_property
    def _targets(self) -> dict[str, Targets]:
        return {split: Targets.of(triples, self.num_relations) for split, triples in self.links.triples.items()}

    @functools.cached_property
    def _known(self) -> dict[str, Targets]:
        return {split: Targets.of(triples, self.num_relations) for split, triples in self.links.known.items()}

    @functools.cached_property
    def _edges(self) -> tuple[Tensor, Tensor]:
        """Training links [2, E] and their relations [E], the same tensors in every batch."""
        head, relation, tail = self.links.triples["train"].T
        return torch.stack([head, tail]), relation.contiguous()

    @property
    def shared_tensors(self) -> tuple[Tensor, ...]:
        """The edges."""
        return self._edges

    def count(self, split: str) -> int:
        """Return the number of queries of a split."""
        return len(self._targets[split].queries)

    def examples(self, split: str, chosen: Tensor) -> LinkBatch:
        """Return a batch of the queries of a split, by their numbers [B]."""
        queries = self._targets[split].queries[chosen]
        heads, relations = queries // self.num_relations, queries % self.num_relations
        return LinkBatch(
            heads, relations, *self._targets[split].find(queries), *self._known[split].find(queries), *self._edges
        )
