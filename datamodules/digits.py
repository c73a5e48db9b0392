"""Handwritten digits of 8×8 pixels as graphs, whose nodes in the order of their numbers are a sequence.

The same batch serves a graph network, which sees the edges, and a recurrent one, which reads the nodes in order.
Legend: N = 64 pixels of an image, E edges.
"""

import functools
from typing import Any, Literal

import numpy as np
import torch
from jsonargparse.typing import PositiveInt
from sklearn.datasets import load_digits
from torch import Tensor
from torch.nn.functional import one_hot

from datamodules.batches import GraphBatch
from datamodules.fingerprint import fingerprint
from datamodules.step_stream import EpochStreamDataModule, step_generator

SIDE = 8  # pixels of a row and of a column
LARGEST = 16  # intensities are 0..16
DIRECTIONS = ((0, 1), (0, -1), (1, 0), (-1, 0))  # from a pixel to its neighbour, in rows and columns


class Digits(EpochStreamDataModule):
    """The 1797 digits of the UCI repository, which scikit-learn holds, so nothing is fetched.

    A node is a pixel; its only feature is its intensity, between 0 and 1. A fifth of the images validates, a fifth
    tests; this split is the same in all runs.

    Args:
        graph: grid: edges between neighbouring pixels in both directions, their feature the direction. chain: an edge
            from each pixel to the next one of the scan, the path on which a recurrent network passes its state.
        order: how the pixels are numbered. scan: row by row; fixed: in one random order; random: in a random order of
            its own for each image. The graph is the same in all three: edges are numbered along.
        batch_size: images of a step.
        seed: seed of the order of the images, and of the numbering; train.py passes seed_everything.
    """

    batch_type = GraphBatch
    num_features = 1
    num_edge_features = len(DIRECTIONS)
    num_outputs = 10

    def __init__(
        self,
        graph: Literal["grid", "chain"] = "grid",
        order: Literal["scan", "fixed", "random"] = "scan",
        batch_size: PositiveInt = 32,
        seed: int = 42,
    ) -> None:
        super().__init__(batch_size, seed)
        self.graph, self.numbering = graph, order

    @functools.cached_property
    def images(self) -> tuple[Tensor, Tensor]:
        """Intensities, row by row, int64 [1797, 64], and the digits [1797]."""
        pixels, digits = load_digits(return_X_y=True)
        return torch.from_numpy(pixels).long(), torch.from_numpy(digits)

    @functools.cached_property
    def parts(self) -> dict[str, Tensor]:
        """The numbers of the images of each split."""
        order = torch.from_numpy(np.random.default_rng(0).permutation(len(self.images[0])))
        fifth = len(order) // 5
        return {"train": order[2 * fifth :], "val": order[:fifth], "test": order[fifth : 2 * fifth]}

    @property
    def split(self) -> dict[str, Any]:
        """The images of every split."""
        return {"name": "the digits", "content": fingerprint([*self.images, *self.parts.values()])}

    @functools.cached_property
    def edges(self) -> tuple[Tensor, Tensor]:
        """Edges [2, E] between pixels numbered by the scan, and the one-hot codes of their directions [E, 4]."""
        places = torch.arange(SIDE * SIDE).view(SIDE, SIDE)
        if self.graph == "chain":
            ends = [torch.stack([places.flatten()[:-1], places.flatten()[1:]])]
        else:
            ends = [
                torch.stack([places[max(0, -i) : SIDE - max(0, i), max(0, -j) : SIDE - max(0, j)].flatten(),
                             places[max(0, i) : SIDE + min(0, i), max(0, j) : SIDE + min(0, j)].flatten()])
                for i, j in DIRECTIONS
            ]  # fmt: skip
        kinds = torch.cat([torch.full((each.shape[1],), kind) for kind, each in enumerate(ends)])
        return torch.cat(ends, 1), one_hot(kinds, len(DIRECTIONS)).float()

    def numbers(self, chosen: Tensor) -> Tensor:
        """Return the number that each pixel of each image gets [B, N], a function of the seed and the image."""
        N = SIDE * SIDE
        if self.numbering == "scan":
            return torch.arange(N).expand(len(chosen), N)
        if self.numbering == "fixed":
            return torch.from_numpy(step_generator(self.seed, 0, 0).permutation(N)).expand(len(chosen), N)
        orders = [step_generator(self.seed, 1, image).permutation(N) for image in chosen.tolist()]
        return torch.from_numpy(np.stack(orders))

    def count(self, split: str) -> int:
        """Return the number of images of a split."""
        return len(self.parts[split])

    def examples(self, split: str, chosen: Tensor) -> GraphBatch:
        """Return a batch of the images of a split, by their places in it."""
        images = self.parts[split][chosen]
        B, N = len(images), SIDE * SIDE
        numbers, (edge_index, kinds) = self.numbers(images), self.edges
        first = N * torch.arange(B)[:, None]  # number of each image's first node
        pixels = torch.empty(B, N, dtype=torch.int64).scatter_(1, numbers, self.images[0][images])
        edges = numbers[:, edge_index] + first[:, None]  # [B, 2, E]
        return GraphBatch(
            pixels.view(-1, 1) / LARGEST, edges.transpose(0, 1).flatten(1), kinds.repeat(B, 1),
            torch.arange(B).repeat_interleave(N), B, self.images[1][images],
        )  # fmt: skip

    def columns(self) -> dict[str, list[str]]:
        """Return the number of each image that is predicted, and its digit."""
        images = self.parts[self.predicted]
        return {"image": list(map(str, images.tolist())), "class": list(map(str, self.images[1][images].tolist()))}

    @property
    def eval_batch_size(self) -> int:
        """Number of images of a batch in an evaluation."""
        return 256
