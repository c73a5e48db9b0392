"""GraphSAGE (Hamilton, Ying & Leskovec 2017), which aggregates the neighbours' features."""

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
    """Hamilton, Ying & Leskovec (2017): h⁺ = relu(W₁ h + W₂ aggregate of the neighbours' h), of a fixed number or all.

    Unlike there, h is not divided by its length, and "max" takes the neighbours' h as they are.

    Args:
        num_features: width F of a node's features.
        num_classes: number C of classes.
        hidden_size: width of the hidden layers.
        num_layers: number of layers.
        dropout: probability of dropping before each.
        aggregate: "mean", "max", or "lstm" over the neighbours in the order of their edges.
    """

    def __init__(
        self,
        num_features: int,
        num_classes: int,
        hidden_size: PositiveInt = 64,
        num_layers: PositiveInt = 2,
        dropout: ClosedUnitInterval = 0.5,
        aggregate: Literal["mean", "max", "lstm"] = "mean",
    ) -> None:
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
        """Return the last hidden layer [N, H], or the features of a network of one layer."""
        h = self.dense(x)
        for layer in self.layers[:-1]:
            h = relu(layer(self.drop(h), edge_index))
        return h


class LSTMAggregation(Aggregation):
    """The last state of an LSTM over a node's neighbours."""

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
        """Return one vector a node, zeros for one without neighbours.

        Nodes of up to 1, 2, 4, 8, … neighbours are padded apart, so that one with many does not pad all others.
        """
        if index is not None:
            index, order = index.sort(stable=True)
            x = x[order]
            degree = torch.bincount(index, minlength=dim_size or 0)
        else:
            assert ptr is not None
            degree = ptr.diff()
        starts = degree.cumsum(0) - degree
        result = x.new_zeros(len(degree), x.shape[1])
        octave = degree.clamp(min=1).log2().ceil()
        for power in octave[degree > 0].unique():
            nodes = torch.nonzero((octave == power) & (degree > 0))[:, 0]
            steps = torch.arange(int(degree[nodes].max()), device=x.device)
            slots = (starts[nodes, None] + steps).clamp(max=len(x) - 1)  # beyond a node's own they are not read
            last, _ = self.lstm(x[slots], lengths=degree[nodes], output="last")
            result[nodes] = last.to(result.dtype)
        return result
