"""The digits as graphs: pixels, edges, numberings and splits."""

from itertools import pairwise

import pytest
import torch

from datamodules.digits import Digits


def test_the_grid_links_neighbours_and_tells_the_direction() -> None:
    edges, kinds = Digits().edges
    assert edges.shape == (2, 4 * 7 * 8)
    rows, columns = edges // 8, edges % 8
    steps = torch.stack([rows[1] - rows[0], columns[1] - columns[0]], 1)
    expected = torch.tensor([[0, 1], [0, -1], [1, 0], [-1, 0]])[kinds.argmax(1)]
    assert torch.equal(steps, expected)
    assert len(torch.unique(edges, dim=1).T) == 224


def test_the_chain_is_the_scan() -> None:
    edges, _ = Digits(graph="chain").edges
    assert edges.T.tolist() == [list(pair) for pair in pairwise(range(64))]


def test_every_image_is_in_one_split() -> None:
    parts = Digits(seed=3).parts
    assert torch.cat([*parts.values()]).sort().values.tolist() == list(range(1797))
    assert {split: len(part) for split, part in parts.items()} == {"train": 1079, "val": 359, "test": 359}
    assert torch.equal(parts["test"], Digits(seed=4).parts["test"]), "the split is the same for every seed"


@pytest.mark.parametrize("order", ["fixed", "random"])
def test_a_numbering_moves_pixels_and_edges_together(order: str) -> None:
    chosen = torch.tensor([0, 1, 5])
    plain, moved = Digits().examples("test", chosen), Digits(order=order).examples("test", chosen)
    numbers = Digits(order=order).numbers(Digits().parts["test"][chosen]) + 64 * torch.arange(3)[:, None]
    assert torch.equal(moved.x[numbers.flatten()], plain.x)
    assert torch.equal(numbers.flatten()[plain.edge_index], moved.edge_index)
    assert torch.equal(moved.edge_attr, plain.edge_attr)
    assert torch.equal(moved.batch, plain.batch)
    assert not torch.equal(moved.x, plain.x)
    own = numbers - 64 * torch.arange(3)[:, None]
    assert torch.equal(own[0], own[1]) == (order == "fixed")


def test_an_image_has_the_same_numbers_in_every_batch() -> None:
    data = Digits(order="random")
    alone, together = data.examples("test", torch.tensor([5])), data.examples("test", torch.tensor([0, 5]))
    assert torch.equal(alone.x, together.x[64:])
    assert torch.equal(alone.edge_index + 64, together.edge_index[:, 224:])


def test_the_feature_of_a_pixel_is_its_intensity() -> None:
    data = Digits()
    batch = data.examples("val", torch.arange(4))
    images, digits = data.images
    assert torch.equal(16 * batch.x.view(4, 64), images[data.parts["val"][:4]])
    assert torch.equal(batch.y, digits[data.parts["val"][:4]])
    assert batch.num_graphs == 4
