"""Social graphs, whose missing friendships are predicted.

Friendship is one undirected relation: a friendship of i and j gives a query at i and one at j.
"""

from pathlib import Path
from typing import Any

import torch
from jsonargparse.typing import NonNegativeInt, OpenUnitInterval, PositiveInt
from torch import Tensor

from datamodules.download import find_files
from datamodules.edge_list import read_pairs
from datamodules.errors import DataError
from datamodules.link_graphs import LinkGraph, Links

FACEBOOK = 4039, 88234  # members and friendships of ego-Facebook


class SocialGraph(LinkGraph):
    """Friendships, split at random into training, validation and test; both directions are in the same split.

    The ranking leaves out known friends: those of the training split in validation, and also those of the validation
    split in the test.

    Args:
        path: an edge list with two names per line, see `datamodules.edge_list`; None for SNAP's ego-Facebook.
        download: whether to fetch ego-Facebook if no data folder has it.
        val_fraction: fraction of the friendships that validates.
        test_fraction: fraction of the friendships that tests.
        batch_size: queries B of a batch.
        seed: seed of the order of the queries.
        split_seed: seed of the split; it is separate, so that runs with other seeds have the same split.

    Raises:
        DataError: if the file is missing, a line is not a pair or is a header, or a split is empty.
    """

    def __init__(
        self,
        path: str | None = None,
        download: bool = False,
        val_fraction: OpenUnitInterval = 0.05,
        test_fraction: OpenUnitInterval = 0.1,
        batch_size: PositiveInt = 512,
        seed: int = 42,
        split_seed: NonNegativeInt = 0,
    ) -> None:
        super().__init__(batch_size, seed)
        if val_fraction + test_fraction >= 1:
            raise DataError(
                f"validation and test take {val_fraction + test_fraction:g} of the links; none is left to train"
            )
        self.path, self.download = path, download
        self.val_fraction, self.test_fraction, self.split_seed = val_fraction, test_fraction, split_seed

    @property
    def split(self) -> dict[str, Any]:
        """The friendships, and the fractions and the seed by which they are split."""
        drawn = {"val_fraction": self.val_fraction, "test_fraction": self.test_fraction, "split_seed": self.split_seed}
        return {"name": self.path or "ego-Facebook", **super().split, **drawn}

    def load(self) -> Links:
        """Return the graph."""
        path = Path(self.path) if self.path is not None else find_facebook(self.download)
        pairs, N = read_pairs(path)
        parts = split_pairs(pairs, self.val_fraction, self.test_fraction, self.split_seed)
        for split, part in parts.items():
            if not len(part):
                fractions = f"val_fraction {self.val_fraction:g} and test_fraction {self.test_fraction:g}"
                raise DataError(f"{path} has {len(pairs)} friendships: with {fractions} none is left for {split}")
        triples = {split: both_ways(part) for split, part in parts.items()}
        oneself = torch.stack([torch.arange(N), torch.zeros(N, dtype=torch.int64), torch.arange(N)], 1)
        before_test = torch.cat([oneself, triples["train"]])
        known = {"train": oneself, "val": before_test, "test": torch.cat([before_test, triples["val"]])}
        return Links(N, 1, triples, known)


def find_facebook(download: bool = False) -> Path:
    """Return the file of SNAP's ego-Facebook, all circles in one graph.

    Raises:
        DataError: if it is missing.
    """
    return find_files("ego-Facebook", download, is_facebook)[0]


def is_facebook(path: Path) -> bool:
    """Return whether an edge list has the numbers of members and friendships of ego-Facebook."""
    try:
        pairs, N = read_pairs(path)
    except DataError:
        return False
    return (N, len(pairs)) == FACEBOOK


def split_pairs(pairs: Tensor, val_fraction: float, test_fraction: float, seed: int) -> dict[str, Tensor]:
    """Return the pairs [n, 2] of each split, drawn by the seed."""
    n = len(pairs)
    shuffled = pairs[torch.randperm(n, generator=torch.Generator().manual_seed(seed))]
    num_val, num_test = round(n * val_fraction), round(n * test_fraction)
    val, test, train = shuffled.split([num_val, num_test, n - num_val - num_test])
    return {"train": train, "val": val, "test": test}


def both_ways(pairs: Tensor) -> Tensor:
    """Return triples [2n, 3] of relation 0 from each end of a pair [n, 2] to the other."""
    ends = torch.cat([pairs, pairs.flip(1)])
    return torch.stack([ends[:, 0], torch.zeros_like(ends[:, 0]), ends[:, 1]], 1)
