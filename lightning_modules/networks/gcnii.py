"""GCNII, a deep graph convolutional network: Chen, Wei, Huang, Ding & Li 2020, arXiv:2007.02133."""

from jsonargparse.typing import ClosedUnitInterval, PositiveFloat, PositiveInt
from torch import Tensor, nn
from torch.nn.functional import relu
from torch_geometric.nn import GCN2Conv

from lightning_modules.networks.gcn import sparse_adjacency
from lightning_modules.networks.graph_cache import once_per_graph
from lightning_modules.networks.node_network import NodeNetwork
from lightning_modules.networks.sparse_matrix import SparseLinear, SparseMatrix


class GCNII(NodeNetwork):
    """Graph convolutions with an initial residual (α) and an identity mapping (β), which allow many layers.

        h⁰ = relu(X W₀ + b₀)
        hᵏ = relu(((1 − α) Â hᵏ⁻¹ + α h⁰) ((1 − β_k) I + β_k W_k)),   β_k = log(θ / k + 1)

    Â is that of GCN.

    Args:
        num_features: width F of a node's features.
        num_classes: number C of classes.
        hidden_size: width H of the layers.
        num_layers: number of graph convolutions.
        dropout: dropout probability before each layer.
        alpha: weight α of the initial residual.
        theta: strength θ of the layers' weights.
    """

    whole_graph = True

    def __init__(
        self, num_features: int, num_classes: int,
        hidden_size: PositiveInt = 64, num_layers: PositiveInt = 64, dropout: ClosedUnitInterval = 0.6,
        alpha: ClosedUnitInterval = 0.1, theta: PositiveFloat = 0.5,
    ) -> None:  # fmt: skip
        super().__init__(num_features, num_classes, dropout, hops=num_layers)
        self.first = SparseLinear(num_features, hidden_size)
        self.layers = nn.ModuleList(
            SparseGCN2Conv(hidden_size, alpha, theta, k + 1, normalize=False) for k in range(num_layers)
        )
        self.last = nn.Linear(hidden_size, num_classes)
        nn.init.uniform_(self.first.weight, -(num_features**-0.5), num_features**-0.5)  # as in the authors' code

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
    """PyG's layer, but it multiplies by a SparseMatrix instead of storing a message for every edge."""

    def reset_parameters(self) -> None:
        """Draw the weights from the interval of the authors' code, which is narrower than PyG's."""
        super().reset_parameters()
        nn.init.uniform_(self.weight1, -(self.channels**-0.5), self.channels**-0.5)

    def propagate(self, edge_index: SparseMatrix, x: Tensor, edge_weight: None) -> Tensor:
        """Return Â x [N, H]; PyG passes the second argument of the layer, here Â, as edge_index."""
        return edge_index @ x
