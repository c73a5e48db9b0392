"""Networks that score every node as the other end of a link: DistMult, ComplEx, R-GCN below them, and GraphSAGE.

All are called as `network(heads, relations, edge_index, edge_type)` and return scores [B, N]. Legend: B queries, N
nodes, R relations with each direction counted, E edges, H hidden.
"""

from abc import ABC, abstractmethod
from typing import Any

import torch
from jsonargparse.typing import ClosedUnitInterval, NonNegativeFloat, NonNegativeInt, PositiveInt
from torch import Tensor, nn
from torch.nn.functional import dropout, relu

from lightning_modules.networks.memo import Memo
from lightning_modules.networks.relational_convolution import RelationalConvolution
from lightning_modules.networks.sparse_matrix import SparseMatrix, check_edges, entries_dtype


class BilinearDecoder(nn.Module, ABC):
    """Scores that are products: of what a query asks for, made of its head and relation, with every node.

    Below it lie free embeddings of the nodes or, with `rgcn_layers`, what an R-GCN (Schlichtkrull et al. 2018) makes of
    them: h⁺ = relu(W₀ h + Σ_r mean over neighbours by r of W_r h), W_r a mixture of `num_bases` matrices; the last
    layer has no relu.

    Args:
        num_nodes: number N of nodes.
        num_relations: number R of relations, each direction counted.
        hidden_size: numbers H of an embedding.
        dropout: probability of dropping, of the query's vector and before each layer.
        rgcn_layers: number of layers that pass messages.
        num_bases: number of matrices that the relations of a layer share.
        scale: standard deviation of an embedding at first.

    Raises:
        ValueError: if the data do not tell their number of nodes and relations.
    """

    def __init__(
        self,
        num_nodes: int,
        num_relations: int,
        hidden_size: PositiveInt = 200,
        dropout: ClosedUnitInterval = 0.0,
        rgcn_layers: NonNegativeInt = 0,
        num_bases: PositiveInt = 8,
        scale: NonNegativeFloat = 1e-3,
    ) -> None:
        super().__init__()
        if not num_nodes or not num_relations:
            raise ValueError(f"{type(self).__name__} needs num_nodes and num_relations, and the data tell none")
        self.p = dropout
        self.nodes = nn.Parameter(scale * torch.randn(num_nodes, hidden_size))
        self.relations = nn.Parameter(scale * torch.randn(num_relations, hidden_size))
        self.layers = nn.ModuleList(
            RelationalConvolution(hidden_size, hidden_size, num_relations, num_bases) for _ in range(rgcn_layers)
        )

    def forward(self, heads: Tensor, relations: Tensor, edge_index: Tensor, edge_type: Tensor) -> Tensor:
        """Return scores [B, N]."""
        nodes = self.encode(edge_index, edge_type)
        query = self.compose(nodes[heads], self.relations[relations])
        return dropout(query, self.p, self.training) @ nodes.T

    def encode(self, edge_index: Tensor, edge_type: Tensor) -> Tensor:
        """Return what is known of every node [N, H]."""
        h: Tensor = self.nodes
        for depth, layer in enumerate(self.layers):
            h = layer(dropout(relu(h) if depth else h, self.p, self.training), edge_index, edge_type)
        return h

    @abstractmethod
    def compose(self, head: Tensor, relation: Tensor) -> Tensor:
        """Return the vectors [B, H] whose product with a node's is its score."""

    def cubes(self, heads: Tensor, relations: Tensor, tails: Tensor) -> Tensor:
        """Return the mean over triples, given by their numbers [A], of the sum of |embedding|³ of all three."""
        sizes = (self.sizes(self.nodes[heads]), self.sizes(self.relations[relations]), self.sizes(self.nodes[tails]))
        return sum(size.pow(3).sum(1).mean() for size in sizes)  # type: ignore[return-value]

    def sizes(self, embedding: Tensor) -> Tensor:
        """Return the absolute values of the entries."""
        return embedding.abs()


class DistMult(BilinearDecoder):
    """Yang et al. (2015): Σ_k h_k r_k t_k."""

    def compose(self, head: Tensor, relation: Tensor) -> Tensor:
        """Return h ⊙ r."""
        return head * relation


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


class FriendSAGE(nn.Module):
    """GraphSAGE (Hamilton, Ying & Leskovec 2017) on nodes without features: s_ij = z_i · z_j + b_j.

    z is made of free embeddings by layers h⁺ = relu(W₁ h + W₂ mean of the neighbours' h), the last without relu. Since
    there is one relation, it is not looked at.

    Args:
        num_nodes: number N of nodes.
        hidden_size: width H of all layers.
        num_layers: number of layers, 0 for the embeddings alone.
        dropout: probability of dropping from the embeddings and between layers.

    Raises:
        ValueError: if the data do not tell their number of nodes.
    """

    def __init__(
        self,
        num_nodes: int,
        hidden_size: PositiveInt = 128,
        num_layers: NonNegativeInt = 1,
        dropout: ClosedUnitInterval = 0.5,
    ) -> None:
        super().__init__()
        if not num_nodes:
            raise ValueError("FriendSAGE needs num_nodes, and the data tell none")
        self.p = dropout
        self.nodes = nn.Parameter(torch.randn(num_nodes, hidden_size) / hidden_size**0.5)
        self.bias = nn.Parameter(torch.zeros(num_nodes))
        self.own = nn.ModuleList(nn.Linear(hidden_size, hidden_size) for _ in range(num_layers))
        self.neighbours = nn.ModuleList(nn.Linear(hidden_size, hidden_size, bias=False) for _ in range(num_layers))
        self._memo = Memo()

    def forward(self, heads: Tensor, relations: Tensor, edge_index: Tensor, edge_type: Tensor) -> Tensor:
        """Return scores [B, N]."""
        z = self.encode(edge_index)
        return torch.addmm(self.bias, z[heads], z.T)

    def encode(self, edge_index: Tensor) -> Tensor:
        """Return z [N, H]. The matrix of the mean is made once for the same tensor."""
        of = (edge_index, len(self.nodes), self.nodes.dtype)
        mean = self._memo(lambda: mean_adjacency(*of), *of)
        h = dropout(self.nodes, self.p, self.training)
        for depth, (own, neighbours) in enumerate(zip(self.own, self.neighbours, strict=True)):
            if depth:
                h = dropout(relu(h), self.p, self.training)
            h = own(h) + mean @ neighbours(h)
        return h


def mean_adjacency(edge_index: Tensor, N: int, dtype: torch.dtype | None = None) -> SparseMatrix:
    """Return D⁻¹ A [N, N]: its row i takes the mean over the nodes that have an edge to i, or zero.

    Raises:
        ValueError: if an edge joins no node.
    """
    check_edges(edge_index, N)
    source, target = edge_index.long()
    weights = 1 / torch.bincount(target, minlength=N)[target].to(entries_dtype(dtype))
    return SparseMatrix.from_entries(target, source, weights, (N, N))
