"""Knowledge graphs, triples of named entities and relations: Nations, Kinship, UMLS, WN18RR, FB15k-237, or your own.

Each triple (h, r, t) gives two queries, (h, r, ?) and (t, r⁻¹, ?), where r⁻¹ is a relation of its own.
"""

from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from jsonargparse.typing import PositiveInt
from torch import Tensor

from datamodules.download import find_files
from datamodules.errors import DataError
from datamodules.link_graphs import LinkGraph, Links
from datamodules.text_lines import file_lines, is_header


class Published(NamedTuple):
    """How a published graph is read and checked.

    Args:
        sizes: numbers of entities, of relations, and of training, validation and test triples.
        columns: in which column of the files head, relation and tail are.
    """

    sizes: tuple[int, int, int, int, int]
    columns: tuple[int, int, int] = (0, 1, 2)


PUBLISHED = {
    "Nations": Published((14, 56, 1619, 202, 203), (1, 0, 2)),
    "Kinship": Published((104, 25, 8548, 1069, 1069), (1, 0, 2)),
    "UMLS": Published((135, 46, 5216, 652, 661)),
    "WN18RR": Published((40943, 11, 86835, 3034, 3134)),
    "FB15k-237": Published((14541, 237, 272115, 17535, 20466)),
}
FILES = {"train": "train.txt", "val": "valid.txt", "test": "test.txt"}


class KnowledgeGraph(LinkGraph):
    """A knowledge graph with its published split.

    Ranks are filtered: a triple that is true in any split does not count as a wrong one. Entities and relations that
    appear in held-out triples only are part of the graph, with their initial embeddings; no triple is left out.

    Args:
        name: a published graph.
        download: whether to fetch a published graph if no data folder has it.
        path: a folder of your own instead, with train.txt, valid.txt and test.txt; head, relation and tail are
            separated by tabs.
        batch_size: queries B of a batch.
        seed: seed of the order of the queries.

    Raises:
        DataError: if a file is missing, a line is a header or does not have three columns, or a published graph is
            incomplete.
    """

    def __init__(
        self,
        name: Literal["Nations", "Kinship", "UMLS", "WN18RR", "FB15k-237"] = "Nations",
        download: bool = False,
        path: str | None = None,
        batch_size: PositiveInt = 512,
        seed: int = 42,
    ) -> None:
        super().__init__(batch_size, seed)
        self.dataset, self.download, self.path = name, download, path

    @property
    def split(self) -> dict[str, Any]:
        """The triples; a graph has one split."""
        return {"name": self.path or self.dataset, **super().split}

    def load(self) -> Links:
        """Return the graph, with nodes and relations numbered in the order of their names."""
        folder = find_folder(self.dataset, self.download) if self.path is None else Path(self.path)
        columns = PUBLISHED[self.dataset].columns if self.path is None else (0, 1, 2)
        lines = {split: read_triples(folder / file) for split, file in FILES.items()}
        named = {split: [[line[column] for column in columns] for line in rows] for split, rows in lines.items()}
        every = [triple for triples in named.values() for triple in triples]
        nodes = _numbers({name for head, _, tail in every for name in (head, tail)})
        relations = _numbers({relation for _, relation, _ in every})
        sizes = (len(nodes), len(relations), *(len(rows) for rows in lines.values()))
        if self.path is None and sizes != (wanted := PUBLISHED[self.dataset].sizes):
            raise DataError(
                f"{folder} is cut short or not {self.dataset}: entities, relations and triples are "
                f"{', '.join(map(str, sizes))} instead of {', '.join(map(str, wanted))}"
            )
        triples = {
            split: with_inverses(
                torch.tensor([(nodes[h], relations[r], nodes[t]) for h, r, t in triples], dtype=torch.int64),
                len(relations),
            )
            for split, triples in named.items()
        }
        true = torch.cat(list(triples.values()))
        return Links(len(nodes), 2 * len(relations), triples, {"train": true[:0], "val": true, "test": true})


def find_folder(name: str, download: bool = False) -> Path:
    """Return the folder of a published graph's files.

    Raises:
        DataError: if they are not there.
    """
    return find_files(name, download)[0].parent


def read_triples(path: Path) -> list[list[str]]:
    """Return the three columns of every line of a text file (see `datamodules.text_lines`); blank ones are skipped.

    Spaces around a name are removed. There are no comments: every line but a blank one is a triple.

    Raises:
        DataError: if the file cannot be read, has a header, or a line does not have three columns.
    """
    lines = {number: line for number, line in enumerate(file_lines(path), 1) if line.strip()}
    if not lines:
        raise DataError(f"{path} is empty")
    rows = {number: [name.strip() for name in line.split("\t")] for number, line in lines.items()}
    for number, row in rows.items():
        if len(row) != 3 or not all(row):
            raise DataError(
                f"{path}, line {number}: expected three columns separated by tabs, got {lines[number][:60]!r}"
            )
    number, first = next(iter(rows.items()))
    if is_header(first):
        raise DataError(f"{path}, line {number} is a header, {lines[number]!r}: remove it")
    return list(rows.values())


def with_inverses(triples: Tensor, num_relations: int) -> Tensor:
    """Return triples [2n, 3]: those given [n, 3], and each from tail to head, its relation's number raised by R."""
    head, relation, tail = triples.view(-1, 3).T
    return torch.cat([triples.view(-1, 3), torch.stack([tail, relation + num_relations, head], 1)])


def _numbers(names: set[str]) -> dict[str, int]:
    return {name: number for number, name in enumerate(sorted(names))}
