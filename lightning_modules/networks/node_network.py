"""Base class of the networks that name the class of every node.

All are called as `network(x, edge_index)` and return logits [N, C]. Legend: N nodes, E edges, F features, C classes.
"""

import torch
from torch import Tensor, nn
from torch.nn.functional import dropout

from lightning_modules.networks.graph_cache import once_per_graph
from lightning_modules.networks.sparse_matrix import SparseMatrix, entries_dtype


class NodeNetwork(nn.Module):
    """What the networks share: the check of the data's facts, and features that may be sparse.

    `whole_graph` marks those that weigh by degrees, which a sampled neighbourhood does not show.

    Args:
        num_features: width F of a node's features.
        num_classes: number C of classes.
        dropout: probability that a feature is dropped before each layer, in training.
        hops: number of layers that look at neighbours: how far a node sees.

    Raises:
        ValueError: if the data do not tell their number of features or classes.
    """

    whole_graph = False

    def __init__(self, num_features: int, num_classes: int, dropout: float, hops: int) -> None:
        super().__init__()
        if not num_features or not num_classes:
            raise ValueError(f"{type(self).__name__} needs num_features and num_classes, and the data tell none")
        self.num_features, self.num_classes, self.p, self.hops = num_features, num_classes, dropout, hops

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of the weights, and so of dense features."""
        return next(self.parameters()).dtype

    def features(self, x: Tensor) -> Tensor | SparseMatrix:
        """Return the input features after dropout; torch.sparse_csr ones as a SparseMatrix, made once for a tensor."""
        if x.layout != torch.sparse_csr:
            return dropout(x.to(self.dtype), self.p, self.training)
        sparse = once_per_graph(sparse_features, x, entries_dtype(self.dtype))
        return sparse.dropout(self.p) if self.training else sparse

    def dense(self, x: Tensor) -> Tensor:
        """Return the input features as a dense matrix, made once for a tensor."""
        if x.layout != torch.sparse_csr:
            return x.to(self.dtype)
        return once_per_graph(dense_features, x, self.dtype)

    def drop(self, h: Tensor) -> Tensor:
        """Return features after dropout."""
        return dropout(h, self.p, self.training)


def sparse_features(x: Tensor, dtype: torch.dtype) -> SparseMatrix:
    """Return torch.sparse_csr features [N, F] as a matrix that multiplies fast in both directions."""
    return SparseMatrix.from_csr(x.to(dtype))


def dense_features(x: Tensor, dtype: torch.dtype) -> Tensor:
    """Return torch.sparse_csr features [N, F] as a dense matrix."""
    return x.to_dense().to(dtype)
