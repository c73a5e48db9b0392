"""Networks that name a text's class: graph convolution and LSTM together, each left out at will, and a bag of words.

All are called as `network(words, lengths, edge_index, edge_weight)` and return logits [B, C]. Legend: B texts, T words
of the longest, V vocabulary, E edges between words, D word vectors, H hidden, C classes.
"""

from collections.abc import Callable
from typing import Any, Literal, cast

import torch
from jsonargparse.typing import ClosedUnitInterval, NonNegativeInt, PositiveInt
from torch import Tensor, nn
from torch.nn.functional import dropout, embedding, relu

from kernels import LSTM
from lightning_modules.networks.gcn import GraphConvolution
from lightning_modules.networks.layer_choice import check_recurrent


def bidirectional_lstm(input_size: int, hidden_size: int) -> LSTM:
    """Return an LSTM that reads from both ends."""
    return LSTM(input_size, hidden_size, bidirectional=True)


class GraphLSTM(nn.Module):
    """Word vectors pass messages along the graph of words, an LSTM reads them in a text's order, attention sums up.

        W⁰ = E,  Wᵏ⁺¹ = Wᵏ + relu(Â Wᵏ U_k + b_k)       of all words, Â the normalised graph
        h_t = BiLSTM(w_1 … w_T)_t                        w_t the row of W of a text's t-th word
        a_t = softmax_t(v · tanh(A [h_t, w_t] + b)),  p = P Σ_t a_t [h_t, w_t] + b,  class probabilities softmax(p)

    The architecture follows Gao, Wang, Pi et al. (2020), which puts a GCN over a graph of the corpus below an LSTM with
    attention, from its description; in training whole words are hidden, too.

    Args:
        vocab_size: size V of the vocabulary; 0 stands for a word that is not in it.
        num_classes: number C of classes.
        embedding_size: width D of a word vector.
        hidden_size: width H of the LSTM's state, in each direction.
        graph_layers: graph convolutions; 0 leaves the graph out.
        layer: makes the recurrent layer from (D, H); None leaves it out, and w_t stands alone.
        pooling: attention, or the mean over a text's words.
        dropout: probability that an entry of E, a w_t or the sum is dropped in training.
        word_dropout: probability that a word is taken for an unknown one in training.

    Raises:
        ValueError: if the data do not tell their number of words or classes.
    """

    def __init__(
        self,
        vocab_size: int,
        num_classes: int,
        embedding_size: PositiveInt = 128,
        hidden_size: PositiveInt = 64,
        graph_layers: NonNegativeInt = 1,
        layer: Callable[[int, int], nn.Module] | None = bidirectional_lstm,
        pooling: Literal["attention", "mean"] = "attention",
        dropout: ClosedUnitInterval = 0.3,
        word_dropout: ClosedUnitInterval = 0.5,
    ) -> None:
        super().__init__()
        if not vocab_size or not num_classes:
            raise ValueError("GraphLSTM needs vocab_size and num_classes, and the data tell neither")
        self.num_classes, self.p, self.word_dropout = num_classes, dropout, word_dropout
        self.embedding = nn.Parameter(0.1 * torch.randn(vocab_size, embedding_size))
        self.graph = nn.ModuleList(GraphConvolution(embedding_size, embedding_size) for _ in range(graph_layers))
        self.layer = None if layer is None else layer(embedding_size, hidden_size)
        if self.layer is not None:
            check_recurrent(self.layer, self)
        directions = 0 if layer is None else 1 + getattr(self.layer, "bidirectional", False)
        width = directions * hidden_size + embedding_size
        self.attention = None
        if pooling == "attention":
            self.attention = nn.Sequential(
                nn.Linear(width, hidden_size), nn.Tanh(), nn.Linear(hidden_size, 1, bias=False)
            )
        self.head = nn.Linear(width, num_classes)

    def forward(self, words: Tensor, lengths: Tensor, edge_index: Tensor, edge_weight: Tensor) -> Tensor:
        """Return the logits [B, C] of a batch of texts [B, T]."""
        return self.head(self._drop(self.read(words, lengths, edge_index, edge_weight)[0]))

    def read(self, words: Tensor, lengths: Tensor, edge_index: Tensor, edge_weight: Tensor) -> tuple[Tensor, Tensor]:
        """Return what is known of each text [B, ·], and how much each word counts in it [B, T]."""
        if self.training:
            words = words.masked_fill(torch.rand(words.shape, device=words.device) < self.word_dropout, 0)
        x = self._drop(embedding(words, self.word_vectors(edge_index, edge_weight)))  # [B, T, D]
        if self.layer is not None:
            layer = cast(Callable[..., tuple[Tensor, Any]], self.layer)
            h, _ = layer(x.transpose(0, 1), lengths=lengths)
            x = torch.cat([h.transpose(0, 1), x], 2)
        beyond = torch.arange(words.shape[1], device=words.device) >= lengths[:, None]
        scores = torch.zeros_like(x[..., 0]) if self.attention is None else self.attention(x).squeeze(2)
        weights = scores.masked_fill(beyond, -torch.inf).softmax(1)
        return (weights[:, None] @ x).squeeze(1), weights

    def word_vectors(self, edge_index: Tensor, edge_weight: Tensor) -> Tensor:
        """Return the vectors [V, D] of all words after the messages."""
        w: Tensor = self.embedding
        for convolution in self.graph:
            w = w + relu(convolution(self._drop(w), edge_index, edge_weight))
        return w

    def _drop(self, x: Tensor) -> Tensor:
        return dropout(x, self.p, self.training)
