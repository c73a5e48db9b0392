"""Score and penalty of ComplEx against their equations."""

import pytest
import torch

from lightning_modules.networks.complex import ComplEx

EDGES, TYPES = torch.tensor([[0, 1, 1, 2], [1, 0, 2, 1]]), torch.tensor([0, 1, 0, 1])
HEADS, RELATIONS = torch.tensor([0, 2, 1]), torch.tensor([1, 0, 1])


def test_complex() -> None:
    network = ComplEx(4, 2, 6, scale=1.0)
    nodes, relations = (torch.complex(*weight.detach().chunk(2, 1)) for weight in (network.nodes, network.relations))
    expected = torch.einsum("bk,bk,nk->bn", nodes[HEADS], relations[RELATIONS], nodes.conj()).real
    torch.testing.assert_close(network(HEADS, RELATIONS, EDGES, TYPES), expected)
    tails = torch.tensor([3, 3, 0])
    triples = (nodes[HEADS], relations[RELATIONS], nodes[tails])
    penalty = sum(part.abs().pow(3).sum(1).mean() for part in triples)
    torch.testing.assert_close(network.n3(HEADS, RELATIONS, tails), penalty)


def test_complex_needs_pairs() -> None:
    with pytest.raises(ValueError, match="ComplEx needs an even hidden_size, got 7"):
        ComplEx(4, 2, 7)
