"""Base class of the networks whose scores of links are bilinear: DistMult and ComplEx, also above an R-GCN.

All are called as `network(heads, relations, edge_index, edge_type)` and return scores [B, N]. Legend: B queries, N
nodes, R relations with each direction counted, E edges, H hidden.
"""

from abc import ABC, abstractmethod

import torch
from jsonargparse.typing import ClosedUnitInterval, NonNegativeFloat, NonNegativeInt, PositiveInt
from torch import Tensor, nn
from torch.nn.functional import dropout, relu

from lightning_modules.networks.rgcn import RelationalConvolution


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

    def n3(self, heads: Tensor, relations: Tensor, tails: Tensor) -> Tensor:
        """Return the mean over triples, given by their numbers [A], of the sum of |embedding|³ of all three."""
        sizes = (self.sizes(self.nodes[heads]), self.sizes(self.relations[relations]), self.sizes(self.nodes[tails]))
        return sum(size.pow(3).sum(1).mean() for size in sizes)  # type: ignore[return-value]

    def sizes(self, embedding: Tensor) -> Tensor:
        """Return the absolute values of the entries."""
        return embedding.abs()
