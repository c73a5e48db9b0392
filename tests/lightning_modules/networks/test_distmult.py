"""The score of DistMult against its equation."""

import torch

from lightning_modules.networks.distmult import DistMult

EDGES, TYPES = torch.tensor([[0, 1, 1, 2], [1, 0, 2, 1]]), torch.tensor([0, 1, 0, 1])
HEADS, RELATIONS = torch.tensor([0, 2, 1]), torch.tensor([1, 0, 1])


def test_distmult() -> None:
    network = DistMult(4, 2, 6, scale=1.0)
    expected = torch.einsum("bk,bk,nk->bn", network.nodes[HEADS], network.relations[RELATIONS], network.nodes)
    torch.testing.assert_close(network(HEADS, RELATIONS, EDGES, TYPES), expected)
