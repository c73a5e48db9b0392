"""Graphs whose missing links are sought: questions "which nodes does this node reach by this relation?" in batches.

Whatever the graph, a link is a triple (head, relation, tail) of numbers, and a question is its first two. In training
a question is answered by all of its training links at once; in evaluation by the links that are held out, while those
that are known already are left out of the ranking. Legend: N nodes, R relations, n triples, B questions, A answers, K
answers known already, E edges.
"""

import functools
import itertools
from abc import ABC, abstractmethod
from typing import Any, NamedTuple, Self

import torch
from jsonargparse.typing import PositiveInt
from torch import Tensor

from datamodules.data_folders import DataError
from datamodules.fingerprint import fingerprint
from datamodules.step_stream import EpochStreamDataModule, Shared


class Questions(NamedTuple):
    """A batch. Of each pair (row, answer) the row says which of the B questions it belongs to.

    Args:
        heads: the nodes asked about [B].
        relations: the relations asked about [B].
        rows: questions of the answers that are sought [A].
        answers: nodes that are sought [A].
        known_rows: questions of the answers that are left out [K].
        known: nodes that are neither right nor wrong, since they are known already or cannot be [K].
        edge_index: the training links from head to tail [2, E], for networks that pass messages.
        edge_type: their relations [E].
    """

    heads: Tensor
    relations: Tensor
    rows: Tensor
    answers: Tensor
    known_rows: Tensor
    known: Tensor
    edge_index: Tensor
    edge_type: Tensor


class Answers(NamedTuple):
    """The tails of triples by their question, which is a number: head · R + relation.

    Args:
        questions: the questions, each once, in order [Q].
        starts: where in `tails` each one's begin; the last entry is their number [Q + 1].
        tails: tails of all questions, one after the other [n].
    """

    questions: Tensor
    starts: Tensor
    tails: Tensor

    @classmethod
    def of(cls, triples: Tensor, num_relations: int) -> Self:
        """Sort triples [n, 3] by their question; equal ones count once."""
        triples = torch.unique(triples, dim=0)  # in order of head, relation, tail
        questions, counts = torch.unique_consecutive(triples[:, 0] * num_relations + triples[:, 1], return_counts=True)
        return cls(questions, torch.cat([counts.new_zeros(1), counts.cumsum(0)]), triples[:, 2].contiguous())

    def to(self, questions: Tensor) -> tuple[Tensor, Tensor]:
        """Return pairs (row of the question [A], answer [A]); a question that is not there has none."""
        place = torch.searchsorted(self.questions, questions)
        there = torch.cat([self.questions, self.questions.new_full((1,), -1)])[place] == questions
        place = place.where(there, 0)
        counts = torch.diff(self.starts, append=self.starts[-1:])[place] * there
        rows = torch.arange(len(questions)).repeat_interleave(counts)
        slots = torch.arange(len(rows)) + (self.starts[place] - counts.cumsum(0) + counts)[rows]
        return rows, self.tails[slots]


class Links(NamedTuple):
    """What a data module loads. Triples are [n, 3]: head, relation, tail.

    Args:
        num_nodes: number N of nodes.
        num_relations: number R of relations.
        sought: triples of the train, val and test split, in each direction in which they are asked about.
        known: triples that are left out when the questions of a split are answered.
    """

    num_nodes: int
    num_relations: int
    sought: dict[str, Tensor]
    known: dict[str, Tensor]


class LinkGraph(EpochStreamDataModule, ABC):
    """Questions about the links of one graph. An epoch asks every training question once, in an order of its own.

    Args:
        batch_size: questions B of a batch, on each process.
        seed: seed of the order; train.py passes seed_everything.
    """

    gives = "a graph's links"

    def __init__(self, batch_size: PositiveInt = 512, seed: int = 42) -> None:
        super().__init__(batch_size, seed)
        self._shared = Shared()

    @abstractmethod
    def load(self) -> Links:
        """Return the graph."""

    @functools.cached_property
    def links(self) -> Links:
        """The graph, checked.

        Raises:
            DataError: if a split has no link, or a link of another split.
        """
        links = self.load()
        numbers = {}  # of each link
        for split, triples in links.sought.items():
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
        return {"content": fingerprint(self.links.sought[split] for split in ("train", "val", "test"))}

    @property
    def num_nodes(self) -> int:
        """Number N of nodes."""
        return self.links.num_nodes

    @property
    def num_relations(self) -> int:
        """Number R of relations, each direction counted."""
        return self.links.num_relations

    @functools.cached_property
    def _sought(self) -> dict[str, Answers]:
        return {split: Answers.of(triples, self.num_relations) for split, triples in self.links.sought.items()}

    @functools.cached_property
    def _known(self) -> dict[str, Answers]:
        return {split: Answers.of(triples, self.num_relations) for split, triples in self.links.known.items()}

    @functools.cached_property
    def _edges(self) -> tuple[Tensor, Tensor]:
        """Training links [2, E] and their relations [E], the same tensors in every batch."""
        head, relation, tail = self.links.sought["train"].T
        return torch.stack([head, tail]), relation.contiguous()

    def count(self, split: str) -> int:
        """Return the number of questions of a split."""
        return len(self._sought[split].questions)

    def examples(self, split: str, chosen: Tensor) -> Questions:
        """Return a batch of the questions of a split, by their numbers [B]."""
        asked = self._sought[split].questions[chosen]
        heads, relations = asked // self.num_relations, asked % self.num_relations
        return Questions(heads, relations, *self._sought[split].to(asked), *self._known[split].to(asked), *self._edges)

    def transfer_batch_to_device(self, batch: Questions, device: torch.device, dataloader_idx: int) -> Questions:
        """Return a batch on a device; the edges are brought there once, so what is made of them can be kept."""
        edge_index, edge_type = self._shared(device, batch.edge_index, batch.edge_type)
        own = batch._replace(edge_index=batch.edge_index[:, :0], edge_type=batch.edge_type[:0])
        moved = super().transfer_batch_to_device(own, device, dataloader_idx)
        return moved._replace(edge_index=edge_index, edge_type=edge_type)
