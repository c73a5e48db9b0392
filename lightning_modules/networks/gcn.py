"""Graph convolutional network (GCN): Kipf & Welling 2017, arXiv:1609.02907.

    H⁺ = Â H W + b,   Â = D̃^-½ Ã D̃^-½,   Ã = A + I,   D̃ the diagonal matrix of the degrees in Ã

As message passing: node j sends W h_j along the edge j → i, the edge scales it by 1 / √(d_i d_j), and node i sums the
messages, its own included. Legend: N nodes, E edges, F features.
"""

from typing import Literal

import torch
from jsonargparse.typing import ClosedUnitInterval, PositiveInt
from torch import Tensor, nn
from torch.nn.functional import relu
from torch_geometric.utils import add_remaining_self_loops

from lightning_modules.networks.checks import check_edges
from lightning_modules.networks.graph_cache import once_per_graph
from lightning_modules.networks.node_network import NodeNetwork
from lightning_modules.networks.sparse_matrix import SparseMatrix, entries_dtype

Form = Literal["sparse", "edges", "dense"]


class GCN(NodeNetwork):
    """Logits = Â relu(Â X W₁ + b₁) W₂ + b₂ for two layers, with dropout before each layer, also on the input.

    Args:
        num_features: width F of a node's features.
        num_classes: number C of classes.
        hidden_size: width H of the hidden layers.
        num_layers: number of graph convolutions, at least 2.
        dropout: dropout probability before each graph convolution.
        form: how to multiply by Â, see `GraphConvolution`.

    Raises:
        ValueError: if there are fewer than two layers.
    """

    whole_graph = True

    def __init__(
        self, num_features: int, num_classes: int,
        hidden_size: PositiveInt = 16, num_layers: PositiveInt = 2, dropout: ClosedUnitInterval = 0.5,
        form: Form = "sparse",
    ) -> None:  # fmt: skip
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


class GraphConvolution(nn.Module):
    """H⁺ = Â H W + b.

    All forms compute the same. "sparse" multiplies by Â in CSR format and needs the least time and memory. "edges"
    stores a message for every edge, "dense" all N² entries of Â. If the edge weights require a gradient, "sparse"
    computes as "edges", because a SparseMatrix gives its values none.

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

    def forward(
        self,
        x: Tensor | SparseMatrix,
        edge_index: Tensor,
        edge_weight: Tensor | None = None,
        nodes: Tensor | None = None,
    ) -> Tensor:
        """Return the next features […, N, out], or only those of some nodes [n, out].

        Args:
            x: features […, N, F]; sparse ones are [N, F].
            edge_index: edges from row 0 to row 1 [2, E].
            edge_weight: entries of A for these edges [E]; ones if None.
            nodes: the nodes whose next features are returned [n], where x is dense [N, F]; None for all. The "sparse"
                form then computes no others.
        """
        if nodes is not None:
            return self._of_nodes(nodes, x, edge_index, edge_weight)
        projected = x @ self.weight
        graph = (edge_index, projected.shape[-2], edge_weight, entries_dtype(projected.dtype))
        if self.form == "sparse" and not _learned(edge_weight):
            return once_per_graph(sparse_adjacency, *graph) @ projected + self.bias
        if self.form == "dense":
            return once_per_graph(dense_adjacency, *graph).to(projected.dtype) @ projected + self.bias
        (source, target), weight = once_per_graph(normalized_edges, *graph)
        messages = weight[:, None].to(projected.dtype) * projected.index_select(-2, source)
        return torch.zeros_like(projected).index_add(-2, target, messages) + self.bias

    def _of_nodes(
        self, nodes: Tensor, x: Tensor | SparseMatrix, edge_index: Tensor, edge_weight: Tensor | None
    ) -> Tensor:
        """Return the next features of some nodes, (Â[nodes] H) W + b."""
        if self.form != "sparse" or _learned(edge_weight) or not isinstance(x, Tensor):
            return self(x, edge_index, edge_weight)[nodes]
        adjacency = once_per_graph(sparse_adjacency, edge_index, len(x), edge_weight, entries_dtype(x.dtype))
        return adjacency.rows_of_product(nodes, x) @ self.weight + self.bias


def _learned(edge_weight: Tensor | None) -> bool:
    return edge_weight is not None and edge_weight.requires_grad and torch.is_grad_enabled()


def normalized_edges(
    edge_index: Tensor, N: int, edge_weight: Tensor | None = None, dtype: torch.dtype | None = None
) -> tuple[Tensor, Tensor]:
    """Return the entries of Â as edges [2, E′], with one self-loop per node, and weights a_ij / √(d_i d_j) [E′].

    Args:
        edge_index: edges from row 0 to row 1 [2, E]. Repeated edges add up; a node's self-loops count as one.
        N: number of nodes.
        edge_weight: entries a_ij of A [E]; ones if None. Added self-loops have weight 1. The edges of a node of degree
            0 get weight 0, as in PyG.
        dtype: dtype of the features; torch's default if None.

    Raises:
        ValueError: if a node does not exist, edge_weight has another shape, or a degree is negative.
    """
    check_edges(edge_index, N)
    if edge_weight is not None and edge_weight.shape != edge_index.shape[1:]:
        raise ValueError(f"edge_weight must be [{edge_index.shape[1]}], one per edge, got {[*edge_weight.shape]}")
    weight = torch.ones_like(edge_index[0]) if edge_weight is None else edge_weight
    edges, weight = add_remaining_self_loops(edge_index.long(), weight.to(entries_dtype(dtype)), num_nodes=N)
    degree = torch.zeros(N, dtype=weight.dtype, device=weight.device).index_add(0, edges[1], weight)
    if edge_weight is not None and (degree < 0).any():
        node = int(degree.argmin())
        raise ValueError(f"the weights of the edges to node {node} sum to {float(degree[node]):g}, which is negative")
    positive = degree > 0
    root = degree.where(positive, 1).rsqrt().where(positive, 0)  # the gradient of rsqrt(0) would be NaN
    return edges, weight * root[edges].prod(0)


def dense_adjacency(
    edge_index: Tensor, N: int, edge_weight: Tensor | None = None, dtype: torch.dtype | None = None
) -> Tensor:
    """Return Â [N, N]; row i has the weights of the messages to node i."""
    (source, target), weight = normalized_edges(edge_index, N, edge_weight, dtype)
    return weight.new_zeros(N, N).index_put((target, source), weight, accumulate=True)


def sparse_adjacency(
    edge_index: Tensor, N: int, edge_weight: Tensor | None = None, dtype: torch.dtype | None = None
) -> SparseMatrix:
    """Return Â [N, N] as a SparseMatrix."""
    (source, target), weight = normalized_edges(edge_index, N, edge_weight, dtype)
    return SparseMatrix.from_entries(target, source, weight, (N, N))
