"""Base class of the networks that classify the nodes of a graph.

A subclass is called as `network(x, edge_index)`, as PyG's networks are, and returns logits [N, C].
Legend: N nodes, E edges, F features, C classes.
"""

import torch
from torch import Tensor, nn
from torch.nn.functional import dropout

from lightning_modules.networks.checks import require
from lightning_modules.networks.graph_cache import once_per_graph
from lightning_modules.networks.sparse_matrix import SparseMatrix, entries_dtype


class NodeNetwork(nn.Module):
    """Base class: sizes, dropout, and input features that may be dense or torch.sparse_csr.

    Args:
        num_features: width F of a node's features.
        num_classes: number C of classes.
        dropout: dropout probability before each layer.
        hops: number of layers that aggregate neighbours. The logits of a node depend on nodes up to this far away.

    Attributes:
        whole_graph: True if the network needs the degrees in the whole graph, so that neighbourhoods cannot be sampled.

    Raises:
        ValueError: if the data module defines no num_features or num_classes.
    """

    whole_graph = False

    def __init__(self, num_features: int, num_classes: int, dropout: float, hops: int) -> None:
        super().__init__()
        require(self, num_features=num_features, num_classes=num_classes)
        self.num_features, self.num_classes, self.p, self.hops = num_features, num_classes, dropout, hops

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of the weights."""
        return next(self.parameters()).dtype

    def features(self, x: Tensor) -> Tensor | SparseMatrix:
        """Return the input features [N, F] after dropout: dense ones as a tensor, sparse ones as a SparseMatrix."""
        if x.layout != torch.sparse_csr:
            return dropout(x.to(self.dtype), self.p, self.training)
        sparse = once_per_graph(sparse_features, x, entries_dtype(self.dtype))
        return sparse.dropout(self.p) if self.training else sparse

    def dense(self, x: Tensor) -> Tensor:
        """Return the input features [N, F] as a dense tensor, without dropout."""
        return x.to(self.dtype) if x.layout != torch.sparse_csr else once_per_graph(dense_features, x, self.dtype)

    def drop(self, h: Tensor) -> Tensor:
        """Return features after dropout."""
        return dropout(h, self.p, self.training)


def sparse_features(x: Tensor, dtype: torch.dtype) -> SparseMatrix:
    """Return torch.sparse_csr features [N, F] as a SparseMatrix."""
    return SparseMatrix.from_csr(x.to(dtype))


def dense_features(x: Tensor, dtype: torch.dtype) -> Tensor:
    """Return torch.sparse_csr features [N, F] as a dense tensor."""
    return x.to_dense().to(dtype)
