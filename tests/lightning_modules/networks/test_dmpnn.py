"""The reverse edges of DMPNN."""

import pytest
import torch

from lightning_modules.networks.dmpnn import DMPNN, reverse_edges

F, G, K = 5, 3, 2


def test_an_edge_without_its_reverse_is_refused() -> None:
    with pytest.raises(ValueError, match="needs every edge in both directions"):
        DMPNN(F, G, K)(
            torch.randn(3, F), torch.tensor([[0, 1, 1], [1, 0, 2]]), torch.randn(3, G), torch.zeros(3).long(), 1
        )


def test_reverse_edges() -> None:
    edge_index = torch.tensor([[0, 1, 1, 2, 2, 0], [1, 0, 2, 1, 0, 2]])
    back = reverse_edges(edge_index, 3)
    assert torch.equal(edge_index[:, back], edge_index.flip(0))
    assert back[back].tolist() == list(range(6))
