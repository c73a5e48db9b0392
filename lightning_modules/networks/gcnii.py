"""GCNII (Chen et al. 2020), a deep graph convolutional network."""

from jsonargparse.typing import ClosedUnitInterval, PositiveFloat, PositiveInt
from torch import Tensor, nn
from torch.nn.functional import relu
from torch_geometric.nn import GCN2Conv

from lightning_modules.networks.gcn import sparse_adjacency
from lightning_modules.networks.graph_cache import once_per_graph
from lightning_modules.networks.node_network import NodeNetwork
from lightning_modules.networks.sparse_matrix import SparseLinear, SparseMatrix


class GCNII(NodeNetwork):
    """Chen et al. (2020): deep, since every layer sees the first features again and is near the identity.

    h⁺ = relu(((1 − α) Â h + α h⁰)((1 − β_k) I + β_k W)), β_k = log(θ / k + 1); h⁰ = relu(x W₀).

    Args:
        num_features: width F of a node's features.
        num_classes: number C of classes.
        hidden_size: width of the layers.
        num_layers: number of convolutions.
        dropout: probability of dropping before each.
        alpha: share of the first features in every layer.
        theta: strength of the layers' own weights.
    """

    whole_graph = True

    def __init__(
        self,
        num_features: int,
        num_classes: int,
        hidden_size: PositiveInt = 64,
        num_layers: PositiveInt = 64,
        dropout: ClosedUnitInterval = 0.6,
        alpha: ClosedUnitInterval = 0.1,
        theta: PositiveFloat = 0.5,
    ) -> None:
        super().__init__(num_features, num_classes, dropout, hops=num_layers)
        self.first = SparseLinear(num_features, hidden_size)
        self.layers = nn.ModuleList(
            SparseGCN2Conv(hidden_size, alpha, theta, k + 1, normalize=False) for k in range(num_layers)
        )
        self.last = nn.Linear(hidden_size, num_classes)
        nn.init.uniform_(self.first.weight, -(num_features**-0.5), num_features**-0.5)  # as the authors

    def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
        """Return logits [N, C]."""
        return self.last(self.drop(self.hidden(x, edge_index)))

    def hidden(self, x: Tensor, edge_index: Tensor) -> Tensor:
        """Return the last hidden layer [N, H]."""
        adjacency = once_per_graph(sparse_adjacency, edge_index, len(x), None, self.dtype)
        h = start = relu(self.first(self.features(x)))
        for layer in self.layers:
            h = relu(layer(self.drop(h), start, adjacency))
        return h


class SparseGCN2Conv(GCN2Conv):
    """PyG's layer, which multiplies by a SparseMatrix instead of passing a message along every edge."""

    def reset_parameters(self) -> None:
        """Draw the weights as the authors do, narrower than PyG."""
        super().reset_parameters()
        nn.init.uniform_(self.weight1, -(self.channels**-0.5), self.channels**-0.5)

    def propagate(self, edge_index: SparseMatrix, x: Tensor, edge_weight: None) -> Tensor:
        """Return Â x."""
        return edge_index @ x
