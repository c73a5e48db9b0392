"""LSTMAggregation."""

import torch

from lightning_modules.networks.graph_sage import LSTMAggregation


def test_a_nodes_vector_is_the_last_state_over_its_neighbours() -> None:
    torch.manual_seed(0)
    aggregate = LSTMAggregation(4)
    x, index = torch.randn(5, 4), torch.tensor([0, 0, 2, 2, 2])
    out = aggregate(x, index, dim_size=4)
    assert torch.equal(out[[1, 3]], torch.zeros(2, 4))
    for node, rows in {0: x[:2], 2: x[2:]}.items():
        torch.testing.assert_close(out[node], aggregate.lstm(rows[None])[0][0, -1])
