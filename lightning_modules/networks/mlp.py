"""A multilayer perceptron on the nodes' own features: the baseline that ignores the edges."""

from jsonargparse.typing import ClosedUnitInterval, PositiveInt
from torch import Tensor, nn
from torch.nn.functional import relu

from lightning_modules.networks.node_network import NodeNetwork
from lightning_modules.networks.sparse_matrix import SparseLinear


class MLP(NodeNetwork):
    """Logits = relu(X W₁ + b₁) W₂ + b₂.

    Args:
        num_features: width F of a node's features.
        num_classes: number C of classes.
        hidden_size: width H of the hidden layer.
        dropout: dropout probability before each layer.
    """

    def __init__(
        self, num_features: int, num_classes: int,
        hidden_size: PositiveInt = 64, dropout: ClosedUnitInterval = 0.5,
    ) -> None:  # fmt: skip
        super().__init__(num_features, num_classes, dropout, hops=0)
        self.first = SparseLinear(num_features, hidden_size)
        self.last = nn.Linear(hidden_size, num_classes)

    def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
        """Return logits [N, C]."""
        return self.last(self.drop(self.hidden(x, edge_index)))

    def hidden(self, x: Tensor, edge_index: Tensor) -> Tensor:
        """Return the hidden layer [N, H]."""
        return relu(self.first(self.features(x)))
