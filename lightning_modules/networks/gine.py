"""GINE, a graph isomorphism network with edge features: Hu et al. 2020, arXiv:1905.12265."""

from jsonargparse.typing import ClosedUnitInterval, PositiveInt
from torch import Tensor, nn
from torch.nn.functional import relu
from torch_geometric.nn import BatchNorm, GINEConv

from lightning_modules.networks.graph_network import GraphNetwork, Head, pool


class GINE(GraphNetwork):
    """h_v⁺ = h_v + relu(MLP(h_v + Σ_u relu(h_u + W e_uv))), each MLP with batch normalisation.

    Args:
        num_features: width F of a node's features.
        num_edge_features: width G of an edge's features.
        num_outputs: number K of outputs.
        hidden_size: width H of the layers.
        num_layers: number of layers.
        dropout: dropout probability after each layer and in the head.
    """

    def __init__(
        self, num_features: int, num_edge_features: int, num_outputs: int,
        hidden_size: PositiveInt = 64, num_layers: PositiveInt = 4, dropout: ClosedUnitInterval = 0.0,
    ) -> None:  # fmt: skip
        super().__init__(num_features, num_edge_features, num_outputs, dropout)
        H = hidden_size
        self.first = nn.Linear(num_features, H)
        self.layers = nn.ModuleList(
            GINEConv(
                nn.Sequential(
                    nn.Linear(H, 2 * H),
                    BatchNorm(2 * H, allow_single_element=True),
                    nn.ReLU(),
                    nn.Linear(2 * H, H),
                ),
                edge_dim=num_edge_features,
            )
            for _ in range(num_layers)
        )
        self.head = Head(2 * H, H, num_outputs, dropout)

    def forward(self, x: Tensor, edge_index: Tensor, edge_attr: Tensor, batch: Tensor, num_graphs: int) -> Tensor:
        """Return outputs [B, K]."""
        h = relu(self.first(x))
        for layer in self.layers:
            h = h + self.drop(relu(layer(h, edge_index, edge_attr)))
        return self.head(pool(h, batch, num_graphs))
