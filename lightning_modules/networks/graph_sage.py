"""GraphSAGE: Hamilton, Ying & Leskovec 2017, arXiv:1706.02216."""

import itertools
from typing import Literal

import torch
from jsonargparse.typing import ClosedUnitInterval, PositiveInt
from torch import Tensor, nn
from torch.nn.functional import relu
from torch_geometric.nn import SAGEConv
from torch_geometric.nn.aggr import Aggregation

from kernels import LSTM
from lightning_modules.networks.node_network import NodeNetwork


class GraphSAGE(NodeNetwork):
    """h_i⁺ = relu(W₁ h_i + W₂ aggregate of h_j over the edges j → i + b); the last layer has no relu.

    The neighbours can be sampled, see `num_neighbors` of the data module. Unlike in the paper, h is not divided by its
    norm, and "max" has no layer of its own before the maximum.

    Args:
        num_features: width F of a node's features.
        num_classes: number C of classes.
        hidden_size: width H of the hidden layers.
        num_layers: number of layers.
        dropout: dropout probability before each layer.
        aggregate: "mean", "max", or "lstm", the last state of an LSTM over the neighbours in the order of their edges.
    """

    def __init__(
        self, num_features: int, num_classes: int,
        hidden_size: PositiveInt = 64, num_layers: PositiveInt = 2, dropout: ClosedUnitInterval = 0.5,
        aggregate: Literal["mean", "max", "lstm"] = "mean",
    ) -> None:  # fmt: skip
        super().__init__(num_features, num_classes, dropout, hops=num_layers)
        widths = [num_features, *[hidden_size] * (num_layers - 1), num_classes]
        self.layers = nn.ModuleList(
            SAGEConv(before, after, aggr=LSTMAggregation(before) if aggregate == "lstm" else aggregate)
            for before, after in itertools.pairwise(widths)
        )

    def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
        """Return logits [N, C]."""
        return self.layers[-1](self.drop(self.hidden(x, edge_index)), edge_index)

    def hidden(self, x: Tensor, edge_index: Tensor) -> Tensor:
        """Return the last hidden layer [N, H]; with a single layer, the input features."""
        h = self.dense(x)
        for layer in self.layers[:-1]:
            h = relu(layer(self.drop(h), edge_index))
        return h


class LSTMAggregation(Aggregation):
    """The last state of an LSTM over a node's neighbours.

    PyG's LSTMAggregation pads all nodes to the largest number of neighbours. Here nodes with up to 1, 2, 4, 8, …
    neighbours are padded in separate groups.

    Args:
        size: width of the features and of the LSTM's state.
    """

    def __init__(self, size: int) -> None:
        super().__init__()
        self.lstm = LSTM(size, size, batch_first=True)

    def forward(
        self,
        x: Tensor,
        index: Tensor | None = None,
        ptr: Tensor | None = None,
        dim_size: int | None = None,
        dim: int = -2,
        max_num_elements: int | None = None,
    ) -> Tensor:
        """Return one vector per node [N, size], zeros for a node without neighbours; arguments as in PyG."""
        if index is not None:
            index, order = index.sort(stable=True)
            x = x[order]
            degree = torch.bincount(index, minlength=dim_size or 0)
        else:
            assert ptr is not None
            degree = ptr.diff()
        starts = degree.cumsum(0) - degree
        result = x.new_zeros(len(degree), x.shape[1])
        exponent = degree.clamp(min=1).log2().ceil()
        for power in exponent[degree > 0].unique():
            nodes = torch.nonzero((exponent == power) & (degree > 0))[:, 0]
            steps = torch.arange(int(degree[nodes].max()), device=x.device)
            slots = (starts[nodes, None] + steps).clamp(max=len(x) - 1)  # padding; the lengths exclude it
            last, _ = self.lstm(x[slots], lengths=degree[nodes], output="last")
            result[nodes] = last.to(result.dtype)
        return result
