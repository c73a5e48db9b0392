"""The graph convolution of Kipf & Welling (2017), in three forms that are equal: dense, along edges, sparse.

    H⁺ = Â H W + b,   Â = D̃^-½ Ã D̃^-½,   Ã = A + I,   D̃ the degrees of Ã

As messages: every node sends W h, an edge from j to i weighs it by 1 / √(d_i d_j), and a node sums what arrives, its
own included. Legend: N nodes, E edges, F features.
"""

from typing import Any, Literal

import torch
from jsonargparse.typing import ClosedUnitInterval, PositiveInt
from torch import Tensor, nn
from torch.nn.functional import relu
from torch_geometric.utils import add_remaining_self_loops

from lightning_modules.networks.graph_cache import once_per_graph
from lightning_modules.networks.node_network import NodeNetwork
from lightning_modules.networks.sparse_matrix import SparseMatrix, check_edges, entries_dtype

Form = Literal["sparse", "edges", "dense"]


def normalized_edges(
    edge_index: Tensor, N: int, edge_weight: Tensor | None = None, dtype: torch.dtype | None = None
) -> tuple[Tensor, Tensor]:
    """Return edges [2, E′] with one self-loop at every node, and the weight a_ij / √(d_i d_j) of each.

    Args:
        edge_index: edges from row 0 to row 1 [2, E]; self-loops that are there count as one, other equal edges each.
        N: number of nodes.
        edge_weight: the entries a_ij of A [E]; ones if None. A self-loop that is added has 1. Edges of a node whose
            degree is 0 count as 0, as in PyG.
        dtype: of the features that the weights are for; None for torch's default.

    Raises:
        ValueError: if an edge joins no node, there is not one weight for each edge, or a degree is negative.
    """
    check_edges(edge_index, N)
    if edge_weight is not None and edge_weight.shape != edge_index.shape[1:]:
        raise ValueError(f"edge_weight must be [{edge_index.shape[1]}], one for each edge, got {[*edge_weight.shape]}")
    weight = torch.ones_like(edge_index[0]) if edge_weight is None else edge_weight
    edges, weight = add_remaining_self_loops(edge_index.long(), weight.to(entries_dtype(dtype)), num_nodes=N)
    degree = torch.zeros(N, dtype=weight.dtype, device=weight.device).index_add(0, edges[1], weight)
    if edge_weight is not None and (degree < 0).any():
        node = int(degree.argmin())
        raise ValueError(f"the weights of the edges to node {node} add up to {float(degree[node]):g}, less than 0")
    positive = degree > 0
    root = degree.where(positive, 1).rsqrt().where(positive, 0)  # rsqrt(0) alone would have a gradient of NaN
    return edges, weight * root[edges].prod(0)


def dense_adjacency(
    edge_index: Tensor, N: int, edge_weight: Tensor | None = None, dtype: torch.dtype | None = None
) -> Tensor:
    """Return Â [N, N]; its row i weighs what node i receives."""
    (source, target), weight = normalized_edges(edge_index, N, edge_weight, dtype)
    return weight.new_zeros(N, N).index_put((target, source), weight, accumulate=True)


def sparse_adjacency(
    edge_index: Tensor, N: int, edge_weight: Tensor | None = None, dtype: torch.dtype | None = None
) -> SparseMatrix:
    """Return Â [N, N] with its non-zero entries alone."""
    (source, target), weight = normalized_edges(edge_index, N, edge_weight, dtype)
    return SparseMatrix.from_entries(target, source, weight, (N, N))


class GraphConvolution(nn.Module):
    """H⁺ = Â H W + b. The form decides only how Â is multiplied: "sparse" takes the least memory and time.

    "edges" holds a message of every edge in memory, "dense" all N² entries of Â. Where edge weights want a gradient,
    "sparse" multiplies as "edges" does: the gradient of a weight is a product of its edge's two ends.

    Args:
        in_features: width F of the input.
        out_features: width of the output.
        form: how to multiply by Â.
    """

    def __init__(self, in_features: int, out_features: int, form: Form = "sparse") -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(in_features, out_features))
        self.bias = nn.Parameter(torch.zeros(out_features))
        self.form = form
        nn.init.xavier_uniform_(self.weight)

    def forward(self, x: Tensor | SparseMatrix, edge_index: Tensor, edge_weight: Tensor | None = None) -> Tensor:
        """Return the next features […, N, out].

        Args:
            x: features […, N, F], dense, or sparse [N, F].
            edge_index: edges [2, E].
            edge_weight: the entries of A for these edges [E]; ones if None.
        """
        projected = x @ self.weight
        N, dtype = projected.shape[-2], entries_dtype(projected.dtype)
        learned = edge_weight is not None and edge_weight.requires_grad and torch.is_grad_enabled()
        form = "edges" if learned and self.form == "sparse" else self.form
        make: Any = {"sparse": sparse_adjacency, "edges": normalized_edges, "dense": dense_adjacency}[form]
        adjacency = once_per_graph(make, edge_index, N, edge_weight, dtype)
        if form == "sparse":
            return adjacency @ projected + self.bias
        if form == "dense":
            return adjacency.to(projected.dtype) @ projected + self.bias
        edges, weights = adjacency
        messages = weights[:, None].to(projected.dtype) * projected.index_select(-2, edges[0])
        return torch.zeros_like(projected).index_add(-2, edges[1], messages) + self.bias


class GCN(NodeNetwork):
    """Kipf & Welling (2017): Z = Â relu(Â X W₁) W₂ for two layers, with dropout before each, the input's too.

    Args:
        num_features: width F of a node's features.
        num_classes: number C of classes.
        hidden_size: width of the hidden layers.
        num_layers: number of graph convolutions, 2 or more.
        dropout: probability of dropping before each.
        form: how Â is multiplied, see `GraphConvolution`.
    """

    whole_graph = True

    def __init__(
        self,
        num_features: int,
        num_classes: int,
        hidden_size: PositiveInt = 16,
        num_layers: PositiveInt = 2,
        dropout: ClosedUnitInterval = 0.5,
        form: Form = "sparse",
    ) -> None:
        super().__init__(num_features, num_classes, dropout, hops=num_layers)
        if num_layers < 2:
            raise ValueError(f"GCN needs two layers or more, got num_layers {num_layers}")
        self.first = GraphConvolution(num_features, hidden_size, form)
        self.middle = nn.ModuleList(GraphConvolution(hidden_size, hidden_size, form) for _ in range(num_layers - 2))
        self.last = GraphConvolution(hidden_size, num_classes, form)

    def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
        """Return logits [N, C]."""
        return self.last(self.drop(self.hidden(x, edge_index)), edge_index)

    def hidden(self, x: Tensor, edge_index: Tensor) -> Tensor:
        """Return the last hidden layer [N, H]."""
        h = relu(self.first(self.features(x), edge_index))
        for layer in self.middle:
            h = relu(layer(self.drop(h), edge_index))
        return h
