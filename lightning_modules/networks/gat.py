"""Graph attention networks.

GAT: Veličković et al. 2018, arXiv:1710.10903. GATv2: Brody, Alon & Yahav 2022, arXiv:2105.14491.

    h_i⁺ = Σ_j α_ij W h_j  over the edges j → i and j = i,   α_ij = softmax_j e_ij
    GAT:    e_ij = LeakyReLU(a · [W h_i, W h_j])
    GATv2:  e_ij = a · LeakyReLU(W [h_i, h_j])

In GAT all nodes rank their neighbours in the same order; in GATv2 the order can differ from node to node.
"""

from typing import Literal

from jsonargparse.typing import ClosedUnitInterval, PositiveInt
from torch import Tensor, nn
from torch.nn.functional import elu
from torch_geometric.nn import GATConv, GATv2Conv

from lightning_modules.networks.node_network import NodeNetwork
from lightning_modules.networks.sparse_matrix import SparseLinear


class GAT(NodeNetwork):
    """Two attention layers: `heads` heads of `hidden_size` concatenated, then elu, then the heads of the classes.

    Args:
        num_features: width F of a node's features.
        num_classes: number C of classes.
        hidden_size: width H of a head of the first layer.
        heads: number of heads of the first layer.
        last_heads: number of heads of the last layer, whose logits are averaged.
        dropout: dropout probability before each layer and of the attention weights.
        version: 1 for GAT, 2 for GATv2.
    """

    def __init__(
        self, num_features: int, num_classes: int,
        hidden_size: PositiveInt = 8, heads: PositiveInt = 8, last_heads: PositiveInt = 1,
        dropout: ClosedUnitInterval = 0.6, version: Literal[1, 2] = 1,
    ) -> None:  # fmt: skip
        super().__init__(num_features, num_classes, dropout, hops=2)
        width, make = heads * hidden_size, GATConv if version == 1 else GATv2Conv
        # PyG's layers need dense features. So W is applied before the first one, whose own W becomes the identity.
        # GATv2 has one W for each end of an edge.
        self.projections = nn.ModuleList(SparseLinear(num_features, width, bias=False) for _ in range(version))
        self.first = make(width, hidden_size, heads, dropout=dropout)
        for name in ("lin",) if version == 1 else ("lin_l", "lin_r"):
            setattr(self.first, name, nn.Identity())
        self.last = make(width, num_classes, last_heads, concat=False, dropout=dropout)

    def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
        """Return logits [N, C]."""
        return self.last(self.drop(self.hidden(x, edge_index)), edge_index)

    def hidden(self, x: Tensor, edge_index: Tensor) -> Tensor:
        """Return the hidden layer [N, heads · H]."""
        return elu(self.first(self._ends(x), edge_index))

    def attention(self, x: Tensor, edge_index: Tensor) -> tuple[Tensor, Tensor]:
        """Return the edges with one self-loop per node [2, E′] and the first layer's weights α [E′, heads]."""
        _, edges_and_weights = self.first(self._ends(x), edge_index, return_attention_weights=True)
        return edges_and_weights

    def _ends(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return W h [N, heads · H] for the source and for the target of an edge."""
        features = self.features(x)
        projected = [project(features) for project in self.projections]
        return projected[0], projected[-1]
