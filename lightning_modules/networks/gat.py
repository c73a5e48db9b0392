"""Graph attention networks: GAT (Veličković et al. 2018) and GATv2 (Brody, Alon & Yahav 2022)."""

from typing import Literal

from jsonargparse.typing import ClosedUnitInterval, PositiveInt
from torch import Tensor, nn
from torch.nn.functional import elu
from torch_geometric.nn import GATConv, GATv2Conv

from lightning_modules.networks.node_network import NodeNetwork
from lightning_modules.networks.sparse_matrix import SparseLinear


class GAT(NodeNetwork):
    """Veličković et al. (2018): neighbours weighed by attention, α_ij = softmax_j LeakyReLU(a · [W h_i, W h_j]).

    Two layers: `heads` of `hidden_size` side by side with elu, then one for the classes.

    Args:
        num_features: width F of a node's features.
        num_classes: number C of classes.
        hidden_size: width of a head.
        heads: number of heads of the first layer.
        last_heads: number of heads of the last, whose logits are averaged.
        dropout: probability of dropping before each layer, and of an attention coefficient.
        version: 2 for Brody, Alon & Yahav (2022), a · LeakyReLU(W [h_i, h_j]): which neighbour counts most can depend
            on i.
    """

    def __init__(
        self,
        num_features: int,
        num_classes: int,
        hidden_size: PositiveInt = 8,
        heads: PositiveInt = 8,
        last_heads: PositiveInt = 1,
        dropout: ClosedUnitInterval = 0.6,
        version: Literal[1, 2] = 1,
    ) -> None:
        super().__init__(num_features, num_classes, dropout, hops=2)
        width, make = heads * hidden_size, GATConv if version == 1 else GATv2Conv
        # W h comes before the first convolution, so that features may be sparse; version 2 has a W for each end.
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
        """Return edges [2, E′], with one self-loop at every node, and the first layer's weights α [E′, heads]."""
        _, weighed = self.first(self._ends(x), edge_index, return_attention_weights=True)
        return weighed

    def _ends(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return W h for the sending and for the receiving end of an edge [N, heads · H]."""
        features = self.features(x)
        projected = [project(features) for project in self.projections]
        return projected[0], projected[-1]
