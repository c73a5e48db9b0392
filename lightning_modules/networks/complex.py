"""ComplEx, DistMult with complex embeddings: Trouillon et al. 2016, arXiv:1606.06357."""

from typing import Any

import torch
from jsonargparse.typing import PositiveInt
from torch import Tensor

from lightning_modules.networks.bilinear_decoder import BilinearDecoder


class ComplEx(BilinearDecoder):
    """score(h, r, t) = Re Σ_k h_k r_k t̄_k, with t̄ the complex conjugate.

    An embedding of size H has H/2 complex numbers: first all real parts, then all imaginary parts.

    Args:
        num_nodes: number N of nodes.
        num_relations: number R of relations, each direction counted.
        hidden_size: size H of an embedding, an even number.
        others: arguments of `BilinearDecoder`.

    Raises:
        ValueError: if hidden_size is odd.
    """

    def __init__(self, num_nodes: int, num_relations: int, hidden_size: PositiveInt = 200, **others: Any) -> None:
        if hidden_size % 2:
            raise ValueError(f"ComplEx needs an even hidden_size, got {hidden_size}")
        super().__init__(num_nodes, num_relations, hidden_size, **others)

    def compose(self, head: Tensor, relation: Tensor) -> Tensor:
        """Return real and imaginary parts of h ⊙ r [B, H]; the dot product with [Re t, Im t] is the score."""
        (a, b), (c, d) = head.chunk(2, 1), relation.chunk(2, 1)
        return torch.cat([a * c - b * d, a * d + b * c], 1)

    def sizes(self, embedding: Tensor) -> Tensor:
        """Return the absolute values of the complex entries of embeddings [A, H], [A, H/2]."""
        real, imaginary = embedding.chunk(2, 1)
        return (real.square() + imaginary.square() + 1e-12).sqrt()  # the root has no gradient at 0
