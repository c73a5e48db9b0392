"""The graph convolution of Schlichtkrull et al. (2018) over edges of many relations, as products with sparse matrices.

    h⁺_i = W₀ h_i + Σ_r W_r mean of h_j over the edges j → i of relation r,   W_r = Σ_b a_rb V_b

Nodes that meet the same node by the same relation are averaged first, which depends on the graph alone: X = M h, a row
for each pair (node, relation) that has an edge. Then h⁺ = h W₀ + Σ_b G (a_b ⊙ X) V_b, where G adds up the pairs of a
node. So the work is B_b products with G, however many relations there are, and no message along an edge is held.
Legend: N nodes, E edges, R relations, P pairs.
"""

import torch
from torch import Tensor, nn

from lightning_modules.networks.graph_cache import once_per_graph
from lightning_modules.networks.sparse_matrix import SparseMatrix, check_edges, entries_dtype


class RelationalConvolution(nn.Module):
    """R-GCN's layer with shared matrices; equal to PyG's RGCNConv, whose time grows with the number of relations.

    Args:
        in_features: width of the input.
        out_features: width of the output.
        num_relations: number R of relations.
        num_bases: number of matrices V that the relations share.
    """

    def __init__(self, in_features: int, out_features: int, num_relations: int, num_bases: int) -> None:
        super().__init__()
        matrices = [nn.init.xavier_uniform_(torch.empty(in_features, out_features)) for _ in range(num_bases + 1)]
        self.root, self.bases = nn.Parameter(matrices[0]), nn.Parameter(torch.stack(matrices[1:]))
        self.shares = nn.Parameter(nn.init.xavier_uniform_(torch.empty(num_relations, num_bases)))
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
        for basis, share in zip(self.bases, self.shares[relations].T, strict=True):
            result = result + (total @ (share[:, None] * means)) @ basis
        return result


def pair_matrices(
    edge_index: Tensor, edge_type: Tensor, N: int, num_relations: int, dtype: torch.dtype | None = None
) -> tuple[SparseMatrix, SparseMatrix, Tensor]:
    """Return M [P, N], which averages over the edges of a pair, G [N, P], which adds up pairs, and their relations.

    Raises:
        ValueError: if an edge joins no node, or has no relation.
    """
    check_edges(edge_index, N)
    if edge_type.shape != edge_index.shape[1:]:
        raise ValueError(f"edge_type must be [{edge_index.shape[1]}], one for each edge, got {[*edge_type.shape]}")
    if edge_type.numel() and not 0 <= int(edge_type.min()) <= int(edge_type.max()) < num_relations:
        raise ValueError(
            f"edge_type must be 0..{num_relations - 1}, got {int(edge_type.min())}..{int(edge_type.max())}"
        )
    source, target = edge_index.long()
    pairs, place, counts = torch.unique(
        target * num_relations + edge_type.long(), return_inverse=True, return_counts=True
    )
    P = len(pairs)
    weights = 1 / counts[place].to(entries_dtype(dtype))
    mean = SparseMatrix.from_entries(place, source, weights, (P, N))
    each = torch.arange(P, device=pairs.device)
    total = SparseMatrix.from_entries(pairs // num_relations, each, weights.new_ones(P), (N, P))
    return mean, total, pairs % num_relations
