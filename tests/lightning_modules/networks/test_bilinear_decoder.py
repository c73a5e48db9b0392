"""Networks for link prediction: required sizes, and how far the R-GCN encoder sees."""

import pytest
import torch

from lightning_modules.networks.bilinear_decoder import BilinearDecoder
from lightning_modules.networks.complex import ComplEx
from lightning_modules.networks.distmult import DistMult
from lightning_modules.networks.friend_sage import FriendSAGE


@pytest.mark.parametrize("make", [DistMult, ComplEx, FriendSAGE])
def test_sizes_must_be_defined(make: type) -> None:
    with pytest.raises(ValueError, match=f"{make.__name__} needs num_nodes.*, which the data module does not define"):
        make(num_nodes=None, **({} if make is FriendSAGE else {"num_relations": None}))


@pytest.mark.parametrize("layers", [0, 1, 2])
def test_an_encoder_sees_as_far_as_it_has_layers(layers: int) -> None:
    network: BilinearDecoder = DistMult(5, 2, 8, rgcn_layers=layers, scale=1.0)
    edges = torch.tensor([[0, 1, 2, 3], [1, 2, 3, 4]])
    network.encode(edges, torch.zeros(4, dtype=torch.int64))[4].sum().backward()
    assert network.nodes.grad is not None
    assert (network.nodes.grad.abs().sum(1) > 0).tolist() == [4 - node <= layers for node in range(5)]
