"""Base class of the networks with bilinear scores for links, DistMult and ComplEx, with or without an R-GCN encoder.

A subclass is called as `network(heads, relations, edge_index, edge_type)` and returns the scores of all nodes as tails
[B, N]. Legend: B queries (head, relation, ?); N nodes; R relations, each direction counted; E edges; H hidden units.
"""

from abc import ABC, abstractmethod

import torch
from jsonargparse.typing import ClosedUnitInterval, NonNegativeFloat, NonNegativeInt, PositiveInt
from torch import Tensor, nn
from torch.nn.functional import dropout, relu

from lightning_modules.networks.checks import require
from lightning_modules.networks.rgcn import RelationalConvolution


class BilinearDecoder(nn.Module, ABC):
    """score(h, r, t) = compose(z_h, r) · z_t, with z the node embeddings or what R-GCN layers compute from them.

    A subclass defines `compose`. R-GCN layers: Schlichtkrull et al. 2018, arXiv:1703.06103; relu between them.

    Args:
        num_nodes: number N of nodes.
        num_relations: number R of relations, each direction counted.
        hidden_size: size H of an embedding.
        dropout: dropout probability of the query's vector, and before each R-GCN layer.
        rgcn_layers: number of R-GCN layers; 0 for plain embeddings.
        num_bases: number of basis matrices of each R-GCN layer.
        scale: standard deviation of the initial embeddings.

    Raises:
        ValueError: if the data module defines no num_nodes or num_relations.
    """

    def __init__(
        self, num_nodes: int, num_relations: int,
        hidden_size: PositiveInt = 200, dropout: ClosedUnitInterval = 0.0, rgcn_layers: NonNegativeInt = 0,
        num_bases: PositiveInt = 8, scale: NonNegativeFloat = 1e-3,
    ) -> None:  # fmt: skip
        super().__init__()
        require(self, num_nodes=num_nodes, num_relations=num_relations)
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
        """Return z of all nodes [N, H]."""
        h: Tensor = self.nodes
        for depth, layer in enumerate(self.layers):
            h = layer(dropout(relu(h) if depth else h, self.p, self.training), edge_index, edge_type)
        return h

    @abstractmethod
    def compose(self, head: Tensor, relation: Tensor) -> Tensor:
        """Return the vectors of the queries [B, H]; their dot product with a node's vector is its score."""

    def n3(self, heads: Tensor, relations: Tensor, tails: Tensor) -> Tensor:
        """Return the N3 penalty of triples: the mean over triples of Σ_k |h_k|³ + |r_k|³ + |t_k|³.

        Lacroix, Usunier & Obozinski 2018, arXiv:1806.07297.

        Args:
            heads: nodes [A].
            relations: relations [A].
            tails: nodes [A].
        """
        sizes = (self.sizes(self.nodes[heads]), self.sizes(self.relations[relations]), self.sizes(self.nodes[tails]))
        return sum(size.pow(3).sum(1).mean() for size in sizes)  # type: ignore[return-value]

    def sizes(self, embedding: Tensor) -> Tensor:
        """Return the absolute values of the entries of embeddings [A, H]."""
        return embedding.abs()
