"""AttentiveFP: Xiong et al. 2020, doi:10.1021/acs.jmedchem.9b00959; PyG's implementation."""

from jsonargparse.typing import ClosedUnitInterval, PositiveInt
from torch import Tensor
from torch_geometric.nn.models import AttentiveFP as PyGAttentiveFP

from lightning_modules.networks.graph_network import GraphNetwork


class AttentiveFP(GraphNetwork):
    """Attention and a GRU over each node's neighbours, then attention and a GRU over the nodes of the graph.

    Args:
        num_features: width F of a node's features.
        num_edge_features: width G of an edge's features.
        num_outputs: number K of outputs.
        hidden_size: width of the layers.
        num_layers: number of layers over the neighbours.
        num_timesteps: number of steps over the nodes of the graph.
        dropout: dropout probability.
    """

    def __init__(
        self, num_features: int, num_edge_features: int, num_outputs: int,
        hidden_size: PositiveInt = 64, num_layers: PositiveInt = 2, num_timesteps: PositiveInt = 2,
        dropout: ClosedUnitInterval = 0.0,
    ) -> None:  # fmt: skip
        super().__init__(num_features, num_edge_features, num_outputs, dropout)
        self.network = PyGAttentiveFP(
            num_features, hidden_size, num_outputs, num_edge_features, num_layers, num_timesteps, dropout
        )

    def forward(self, x: Tensor, edge_index: Tensor, edge_attr: Tensor, batch: Tensor, num_graphs: int) -> Tensor:
        """Return outputs [B, K]."""
        return self.network(x, edge_index, edge_attr, batch)
