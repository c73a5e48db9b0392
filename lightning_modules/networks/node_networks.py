"""Networks that name the class of every node: GCN, GraphSAGE, GAT, GATv2, GCNII, and one that sees no edges.

All are called as `network(x, edge_index)` and return logits [N, C]. Legend: N nodes, E edges, F features, C classes.
"""

import itertools
from typing import Literal

import torch
from jsonargparse.typing import ClosedUnitInterval, PositiveFloat, PositiveInt
from torch import Tensor, nn
from torch.nn.functional import dropout, elu, relu
from torch_geometric.nn import GATConv, GATv2Conv, GCN2Conv, SAGEConv
from torch_geometric.nn.aggr import Aggregation

from kernels import LSTM
from lightning_modules.networks.graph_convolution import Form, GraphConvolution, sparse_adjacency
from lightning_modules.networks.memo import Memo
from lightning_modules.networks.sparse_matrix import SparseMatrix, entries_dtype


class NodeNetwork(nn.Module):
    """What the networks share: the check of the data's facts, and features that may be sparse.

    `whole_graph` marks those that weigh by degrees, which a sampled neighbourhood does not show.

    Args:
        num_features: width F of a node's features.
        num_classes: number C of classes.
        dropout: probability that a feature is dropped before each layer, in training.
        hops: number of layers that look at neighbours: how far a node sees.

    Raises:
        ValueError: if the data do not tell their number of features or classes.
    """

    whole_graph = False

    def __init__(self, num_features: int, num_classes: int, dropout: float, hops: int) -> None:
        super().__init__()
        if not num_features or not num_classes:
            raise ValueError(f"{type(self).__name__} needs num_features and num_classes, and the data tell none")
        self.num_features, self.num_classes, self.p, self.hops = num_features, num_classes, dropout, hops
        self._memo = Memo()  # of the input features

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of the weights, and so of dense features."""
        return next(self.parameters()).dtype

    def features(self, x: Tensor) -> Tensor | SparseMatrix:
        """Return the input features after dropout; torch.sparse_csr ones as a SparseMatrix, made once for a tensor."""
        if x.layout != torch.sparse_csr:
            return dropout(x.to(self.dtype), self.p, self.training)
        dtype = entries_dtype(self.dtype)
        sparse: SparseMatrix = self._memo(lambda: SparseMatrix.from_csr(x.to(dtype)), x, dtype)
        return sparse.dropout(self.p) if self.training else sparse

    def dense(self, x: Tensor) -> Tensor:
        """Return the input features as a dense matrix, made once for a tensor."""
        if x.layout != torch.sparse_csr:
            return x.to(self.dtype)
        if x.requires_grad:
            return x.to_dense().to(self.dtype)
        return self._memo(lambda: x.to_dense().to(self.dtype), x, self.dtype)

    def drop(self, h: Tensor) -> Tensor:
        """Return features after dropout."""
        return dropout(h, self.p, self.training)


class Features(nn.Module):
    """A linear layer on features that may be sparse: x W + b, or x W."""

    def __init__(self, in_features: int, out_features: int, bias: bool = True) -> None:
        super().__init__()
        self.weight = nn.Parameter(nn.init.xavier_uniform_(torch.empty(in_features, out_features)))
        self.bias = nn.Parameter(torch.zeros(out_features)) if bias else None

    def forward(self, x: Tensor | SparseMatrix) -> Tensor:
        """Return [N, out]."""
        return x @ self.weight if self.bias is None else x @ self.weight + self.bias


class MLP(NodeNetwork):
    """relu layers on a node's own features; the baseline that sees no edges.

    Args:
        num_features: width F of a node's features.
        num_classes: number C of classes.
        hidden_size: width of the hidden layer.
        dropout: probability of dropping before each layer.
    """

    def __init__(
        self,
        num_features: int,
        num_classes: int,
        hidden_size: PositiveInt = 64,
        dropout: ClosedUnitInterval = 0.5,
    ) -> None:
        super().__init__(num_features, num_classes, dropout, hops=0)
        self.first = Features(num_features, hidden_size)
        self.last = nn.Linear(hidden_size, num_classes)

    def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
        """Return logits [N, C]."""
        return self.last(self.drop(self.hidden(x, edge_index)))

    def hidden(self, x: Tensor, edge_index: Tensor) -> Tensor:
        """Return the hidden layer [N, H]."""
        return relu(self.first(self.features(x)))


class GCN(NodeNetwork):
    """Kipf & Welling (2017): Z = Â relu(Â X W₁) W₂ for two layers, with dropout before each, the input's too.

    Args:
        num_features: width F of a node's features.
        num_classes: number C of classes.
        hidden_size: width of the hidden layers.
        num_layers: number of graph convolutions, 2 or more.
        dropout: probability of dropping before each.
        form: how Â is multiplied, see `GraphConvolution`.
    """

    whole_graph = True

    def __init__(
        self,
        num_features: int,
        num_classes: int,
        hidden_size: PositiveInt = 16,
        num_layers: PositiveInt = 2,
        dropout: ClosedUnitInterval = 0.5,
        form: Form = "sparse",
    ) -> None:
        super().__init__(num_features, num_classes, dropout, hops=num_layers)
        if num_layers < 2:
            raise ValueError(f"GCN needs two layers or more, got num_layers {num_layers}")
        self.first = GraphConvolution(num_features, hidden_size, form)
        self.middle = nn.ModuleList(GraphConvolution(hidden_size, hidden_size, form) for _ in range(num_layers - 2))
        self.last = GraphConvolution(hidden_size, num_classes, form)

    def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
        """Return logits [N, C]."""
        return self.last(self.drop(self.hidden(x, edge_index)), edge_index)

    def hidden(self, x: Tensor, edge_index: Tensor) -> Tensor:
        """Return the last hidden layer [N, H]."""
        h = relu(self.first(self.features(x), edge_index))
        for layer in self.middle:
            h = relu(layer(self.drop(h), edge_index))
        return h


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
        self.projections = nn.ModuleList(Features(num_features, width, bias=False) for _ in range(version))
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
        self.first = Features(num_features, hidden_size)
        self.layers = nn.ModuleList(
            SparseGCN2Conv(hidden_size, alpha, theta, k + 1, normalize=False) for k in range(num_layers)
        )
        self.last = nn.Linear(hidden_size, num_classes)
        nn.init.uniform_(self.first.weight, -(num_features**-0.5), num_features**-0.5)  # as the authors
        self._adjacency = Memo()

    def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
        """Return logits [N, C]."""
        return self.last(self.drop(self.hidden(x, edge_index)))

    def hidden(self, x: Tensor, edge_index: Tensor) -> Tensor:
        """Return the last hidden layer [N, H]."""
        of = (edge_index, len(x), None, self.dtype)
        adjacency = self._adjacency(lambda: sparse_adjacency(*of), *of)
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
