"""Counts without a hidden layer is a linear model."""

import torch

from lightning_modules.networks.counts import Counts

F, G, K = 5, 3, 2


def test_a_linear_model_on_counts() -> None:
    network = Counts(F, G, K, hidden_size=0)
    assert [tuple(parameter.shape) for parameter in network.parameters()] == [(K, F + G), (K,)]
    edges = torch.tensor([[0, 1], [1, 0]])
    assert network(torch.randn(4, F), edges, torch.randn(2, G), torch.tensor([0, 0, 1, 1]), 2).shape == (2, K)
