"""Spectral vectors of a graph: the leading eigenvectors of its weights."""

import torch

from lightning_modules.networks.spectral import spectral_vectors


def test_they_are_the_leading_eigenvectors() -> None:
    torch.manual_seed(0)
    N, D = 60, 4
    values = torch.cat([torch.tensor([9.0, -7.0, 5.0, 4.0]), torch.linspace(-1, 1, N - D)]).double()
    q, _ = torch.linalg.qr(torch.randn(N, N, dtype=torch.float64))
    matrix = q * values @ q.T
    edges = matrix.nonzero().T
    found = spectral_vectors(edges, matrix[tuple(edges)], N, D)
    expected = q[:, :D] * values[:D].abs().sqrt()
    expected = expected / expected.square().mean().sqrt()
    torch.testing.assert_close(found.abs(), expected.abs(), rtol=0, atol=1e-3)  # an eigenvector has no sign


def test_few_nodes_and_no_edges() -> None:
    edges = torch.tensor([[0, 1], [1, 0]])
    assert spectral_vectors(edges, torch.ones(2), 3, 8).shape == (3, 8)
    assert spectral_vectors(edges[:, :0], torch.ones(0), 3, 2).isfinite().all()
