"""ComplEx (Trouillon et al. 2016) for links of several relations."""

from typing import Any

import torch
from jsonargparse.typing import PositiveInt
from torch import Tensor

from lightning_modules.networks.bilinear_decoder import BilinearDecoder


class ComplEx(BilinearDecoder):
    """Trouillon et al. (2016): Re Σ_k h_k r_k t̄_k with complex numbers; the first half of H is real, the second not.

    Raises:
        ValueError: if H is odd.
    """

    def __init__(self, num_nodes: int, num_relations: int, hidden_size: PositiveInt = 200, **others: Any) -> None:
        if hidden_size % 2:
            raise ValueError(f"ComplEx needs an even hidden_size, got {hidden_size}")
        super().__init__(num_nodes, num_relations, hidden_size, **others)

    def compose(self, head: Tensor, relation: Tensor) -> Tensor:
        """Return h ⊙ r, whose product with t over both halves is the score."""
        (a, b), (c, d) = head.chunk(2, 1), relation.chunk(2, 1)
        return torch.cat([a * c - b * d, a * d + b * c], 1)

    def sizes(self, embedding: Tensor) -> Tensor:
        """Return the absolute values of the complex entries."""
        real, imaginary = embedding.chunk(2, 1)
        return (real.square() + imaginary.square() + 1e-12).sqrt()  # the root of 0 has no gradient
