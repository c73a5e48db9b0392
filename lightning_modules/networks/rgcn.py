"""The layer of a relational graph convolutional network (R-GCN): Schlichtkrull et al. 2018, arXiv:1703.06103.

    h_i⁺ = W₀ h_i + b + Σ_r W_r · mean of h_j over the edges j → i of relation r,   W_r = Σ_k a_rk V_k

It is computed with two sparse matrices. Call (i, r) a pair if node i has an edge of relation r. M averages the features
of each pair's neighbours, X = M h; G sums the pairs of each node. Then

    h⁺ = h W₀ + b + Σ_k G (a_k ⊙ X) V_k,   where row (i, r) of a_k ⊙ X is a_rk times that of X

This takes one product with G per basis matrix V_k, whatever the number of relations, and stores no message per edge.
Legend: N nodes, E edges, R relations, P pairs.
"""

import torch
from torch import Tensor, nn

from lightning_modules.networks.checks import check_edges
from lightning_modules.networks.graph_cache import once_per_graph
from lightning_modules.networks.sparse_matrix import SparseMatrix, entries_dtype


class RelationalConvolution(nn.Module):
    """R-GCN's layer with basis decomposition. Equal to PyG's RGCNConv, whose time grows with the number of relations.

    Args:
        in_features: width of the input.
        out_features: width of the output.
        num_relations: number R of relations.
        num_bases: number of basis matrices V.
    """

    def __init__(self, in_features: int, out_features: int, num_relations: int, num_bases: int) -> None:
        super().__init__()
        matrices = [nn.init.xavier_uniform_(torch.empty(in_features, out_features)) for _ in range(num_bases + 1)]
        self.root, self.bases = nn.Parameter(matrices[0]), nn.Parameter(torch.stack(matrices[1:]))
        self.shares = nn.Parameter(nn.init.xavier_uniform_(torch.empty(num_relations, num_bases)))  # a [R, bases]
        self.bias = nn.Parameter(torch.zeros(out_features))

    def forward(self, h: Tensor, edge_index: Tensor, edge_type: Tensor) -> Tensor:
        """Return the next features [N, out].

        Args:
            h: features [N, in].
            edge_index: edges from row 0 to row 1 [2, E].
            edge_type: relation of each edge [E].
        """
        N, R = len(h), len(self.shares)
        mean, total, relations = once_per_graph(pair_matrices, edge_index, edge_type, N, R, entries_dtype(h.dtype))
        means = mean @ h  # [P, in]
        result = torch.addmm(self.bias, h, self.root)
        for basis, coefficients in zip(self.bases, self.shares[relations].T, strict=True):
            result = result + (total @ (coefficients[:, None] * means)) @ basis
        return result


def pair_matrices(
    edge_index: Tensor, edge_type: Tensor, N: int, num_relations: int, dtype: torch.dtype | None = None
) -> tuple[SparseMatrix, SparseMatrix, Tensor]:
    """Return M [P, N], G [N, P] and the relation of each pair [P].

    Args:
        edge_index: edges from row 0 to row 1 [2, E].
        edge_type: relation of each edge [E].
        N: number of nodes.
        num_relations: number R of relations.
        dtype: dtype of the features; torch's default if None.

    Raises:
        ValueError: if a node or a relation does not exist, or edge_type has another shape.
    """
    check_edges(edge_index, N)
    if edge_type.shape != edge_index.shape[1:]:
        raise ValueError(f"edge_type must be [{edge_index.shape[1]}], one per edge, got {[*edge_type.shape]}")
    if edge_type.numel() and not 0 <= int(edge_type.min()) <= int(edge_type.max()) < num_relations:
        raise ValueError(
            f"edge_type must be 0..{num_relations - 1}, got {int(edge_type.min())}..{int(edge_type.max())}"
        )
    source, target = edge_index.long()
    pairs, pair_of_edge, counts = torch.unique(
        target * num_relations + edge_type.long(), return_inverse=True, return_counts=True
    )
    P = len(pairs)
    weights = 1 / counts[pair_of_edge].to(entries_dtype(dtype))
    mean = SparseMatrix.from_entries(pair_of_edge, source, weights, (P, N))
    each = torch.arange(P, device=pairs.device)
    total = SparseMatrix.from_entries(pairs // num_relations, each, weights.new_ones(P), (N, P))
    return mean, total, pairs % num_relations
