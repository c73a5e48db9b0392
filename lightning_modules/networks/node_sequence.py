"""A recurrent network that reads the nodes of a graph as a sequence, in the order of their numbers.

It is the counterpart of a graph network on the same data: it sees the order of the nodes and no edge.
Legend: B graphs, N nodes of all graphs together, T nodes of the largest, F features, H hidden units, K outputs.
"""

from collections.abc import Callable
from typing import Any, cast

from jsonargparse.typing import ClosedUnitInterval, PositiveInt
from torch import Tensor, nn
from torch_geometric.utils import to_dense_batch

from kernels import LSTM
from lightning_modules.networks.graph_network import GraphNetwork
from lightning_modules.networks.recurrent_layer import check_recurrent, output_width


class NodeSequence(GraphNetwork):
    """Outputs = W h(T) + b, with h the states of a recurrent layer over W_x x_1 … W_x x_T, the nodes of a graph.

    In a bidirectional layer, h(T) is [h→(T), h←(1)]: each direction's state after all nodes.

    Args:
        num_features: width F of a node's features.
        num_edge_features: width of an edge's features, which are not read.
        num_outputs: number K of outputs.
        layer: makes the recurrent layer from (input_size, hidden_size): a class of `kernels`.
        input_size: width of W_x x.
        hidden_size: width H of the state.
        dropout: dropout probability of the last state.
    """

    def __init__(
        self, num_features: int, num_edge_features: int, num_outputs: int,
        layer: Callable[[int, int], nn.Module] = LSTM, input_size: PositiveInt = 16, hidden_size: PositiveInt = 62,
        dropout: ClosedUnitInterval = 0.0,
    ) -> None:  # fmt: skip
        super().__init__(num_features, num_edge_features, num_outputs, dropout)
        self.first = nn.Linear(num_features, input_size)
        self.layer = layer(input_size, hidden_size)
        check_recurrent(self.layer, self)
        self.head = nn.Linear(output_width(self.layer, hidden_size), num_outputs)

    def forward(self, x: Tensor, edge_index: Tensor, edge_attr: Tensor, batch: Tensor, num_graphs: int) -> Tensor:
        """Return outputs [B, K]."""
        inputs, is_node = to_dense_batch(self.first(x), batch, batch_size=num_graphs)  # [B, T, ·], [B, T]
        layer = cast(Callable[..., tuple[Tensor, Any]], self.layer)
        last, _ = layer(inputs.transpose(0, 1), lengths=is_node.sum(1), output="last")  # [B, H]
        return self.head(self.drop(last))
