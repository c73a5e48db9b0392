"""Baselines on a graph of five nodes, against scores counted by hand."""

import math

import pytest
import torch

from lightning_modules.networks.link_baselines import BASELINES

# 0–1, 0–2, 1–2, 1–3, 2–3; node 4 is isolated.
PAIRS = torch.tensor([[0, 0, 1, 1, 2], [1, 2, 2, 3, 3]])
EDGES = torch.cat([PAIRS, PAIRS.flip(0)], 1)
HEADS = torch.tensor([0, 4])


@pytest.mark.parametrize("mixed", [False, True])
@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("popularity", [[2, 3, 3, 2, 0]] * 2),
        ("common_neighbours", [[2, 1, 1, 2, 0], [0] * 5]),
        ("adamic_adar", [[2 / math.log(3), 1 / math.log(3), 1 / math.log(3), 2 / math.log(3), 0], [0] * 5]),
    ],
)
def test_friends(name: str, expected: list[list[float]], mixed: bool) -> None:
    zeros = torch.zeros(10, dtype=torch.int64)
    with torch.autocast("cpu", torch.bfloat16, enabled=mixed):
        scores = BASELINES[name](HEADS, torch.zeros(2, dtype=torch.int64), EDGES, zeros, 5)
        if name != "popularity":  # repeated links count once
            twice = BASELINES[name](HEADS, zeros[:2], EDGES.repeat(1, 2), zeros.repeat(2), 5)
            assert torch.equal(twice, scores)
    torch.testing.assert_close(scores, torch.tensor(expected, dtype=torch.float32))


def test_relation_frequency() -> None:
    types = torch.tensor([0] * 5 + [1] * 5)
    scores = BASELINES["relation_frequency"](HEADS, torch.tensor([0, 2]), EDGES, types, 5)
    assert scores.tolist() == [[0, 1, 2, 2, 0], [0] * 5]
