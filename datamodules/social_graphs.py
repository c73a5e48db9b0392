"""Social graphs: who may be friends with whom, beside the friendships that are known.

Friendship is one relation without a direction: a friendship of i and j is asked about at i and at j.
"""

from pathlib import Path
from typing import Any

import torch
from jsonargparse.typing import NonNegativeInt, OpenUnitInterval, PositiveInt
from torch import Tensor

from datamodules.data_folders import DataError
from datamodules.download import find_files
from datamodules.edge_list import read_pairs
from datamodules.link_graphs import LinkGraph, Links

FACEBOOK = 4039, 88234  # members and friendships of ego-Facebook


class SocialGraph(LinkGraph):
    """Friendships, split at random into those known, those to validate and those to test.

    A friendship is in one split with both its directions. What is ranked are all nodes that are no friends of the one
    asked about: in validation by the training friendships, in test by the validation ones, too.

    Args:
        path: an edge list, two names a line, as `datamodules.edge_list` has it; None for SNAP's ego-Facebook.
        download: whether a named set that no data folder has is fetched.
        val_fraction: share of the friendships held out to validate.
        test_fraction: share of them held out to test.
        batch_size: members B asked about in a batch.
        seed: seed of the order of the queries.
        split_seed: seed of the split, apart from that of the training, so that seeds differ in the training alone.

    Raises:
        DataError: if the file is not there, a line is no pair or a header, or nothing is left to train on.
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
        """The friendships, the shares held out and the seed by which they are drawn."""
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
        DataError: if it is not there.
    """
    return find_files("ego-Facebook", download, is_facebook)[0]


def is_facebook(path: Path) -> bool:
    """Tell by its numbers of members and friendships whether an edge list is ego-Facebook."""
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
