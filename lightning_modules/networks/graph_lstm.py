"""Text classification with a graph convolution over words below an LSTM, after Gao, Wang, Pi et al. 2020.

Paper: doi:10.1088/1742-6596/1575/1/012130. Legend: B texts, T words of the longest text, V vocabulary, E edges between
words, D embedding size, H hidden units of the LSTM, C classes.
"""

from collections.abc import Callable
from typing import Any, Literal, cast

import torch
from jsonargparse.typing import ClosedUnitInterval, NonNegativeInt, PositiveInt
from torch import Tensor, nn
from torch.nn.functional import dropout, embedding, relu

from kernels import LSTM
from lightning_modules.networks.checks import check_recurrent, require
from lightning_modules.networks.gcn import GraphConvolution


def bidirectional_lstm(input_size: int, hidden_size: int) -> LSTM:
    """Return a bidirectional LSTM."""
    return LSTM(input_size, hidden_size, bidirectional=True)


class GraphLSTM(nn.Module):
    """Graph convolutions over the word graph, a bidirectional LSTM over each text, attention, a linear layer.

        W⁰ = E,  Wᵏ⁺¹ = Wᵏ + relu(Â Wᵏ U_k + b_k)       embeddings of all words [V, D], Â that of `GraphConvolution`
        h_t = BiLSTM(w_1 … w_T)_t                        w_t the row of W for the t-th word of the text
        a_t = softmax_t(v · tanh(A [h_t, w_t] + b))
        logits = P Σ_t a_t [h_t, w_t] + c

    The paper puts a GCN over a graph of the corpus below an LSTM with attention. This is a reimplementation from its
    description, with word dropout added. Graph, LSTM and attention can each be left out, for comparison.

    Args:
        vocab_size: size V of the vocabulary; token 0 is an unknown word.
        num_classes: number C of classes.
        embedding_size: size D of a word's embedding.
        hidden_size: width H of the LSTM, per direction.
        graph_layers: number of graph convolutions; 0 for no graph.
        layer: makes the recurrent layer from (D, H); None for no recurrent layer, that is w_t instead of [h_t, w_t].
        pooling: "attention", or "mean" for equal weights a_t.
        dropout: dropout probability of the embeddings, of w_t and of the sum.
        word_dropout: probability that a word is replaced by the unknown word in training.

    Raises:
        ValueError: if the data module defines no vocab_size or num_classes, or the layer is not one of `kernels`.
    """

    def __init__(
        self, vocab_size: int, num_classes: int,
        embedding_size: PositiveInt = 128, hidden_size: PositiveInt = 64, graph_layers: NonNegativeInt = 1,
        layer: Callable[[int, int], nn.Module] | None = bidirectional_lstm,
        pooling: Literal["attention", "mean"] = "attention", dropout: ClosedUnitInterval = 0.3,
        word_dropout: ClosedUnitInterval = 0.5,
    ) -> None:  # fmt: skip
        super().__init__()
        require(self, vocab_size=vocab_size, num_classes=num_classes)
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
        """Return the logits [B, C].

        Args:
            words: tokens of the texts [B, T]; those after a text's end are ignored.
            lengths: number of words of each text [B].
            edge_index: edges of the word graph [2, E].
            edge_weight: their weights [E].
        """
        return self.head(self._drop(self.read(words, lengths, edge_index, edge_weight)[0]))

    def read(self, words: Tensor, lengths: Tensor, edge_index: Tensor, edge_weight: Tensor) -> tuple[Tensor, Tensor]:
        """Return the vector Σ_t a_t [h_t, w_t] of each text [B, ·] and the weights a [B, T]."""
        if self.training:
            words = words.masked_fill(torch.rand(words.shape, device=words.device) < self.word_dropout, 0)
        x = self._drop(embedding(words, self.word_vectors(edge_index, edge_weight)))  # [B, T, D]
        if self.layer is not None:
            layer = cast(Callable[..., tuple[Tensor, Any]], self.layer)
            h, _ = layer(x.transpose(0, 1), lengths=lengths)
            x = torch.cat([h.transpose(0, 1), x], 2)
        padding = torch.arange(words.shape[1], device=words.device) >= lengths[:, None]  # [B, T]
        scores = torch.zeros_like(x[..., 0]) if self.attention is None else self.attention(x).squeeze(2)
        weights = scores.masked_fill(padding, -torch.inf).softmax(1)
        return (weights[:, None] @ x).squeeze(1), weights

    def word_vectors(self, edge_index: Tensor, edge_weight: Tensor) -> Tensor:
        """Return the embeddings of all words after the graph convolutions [V, D]."""
        w: Tensor = self.embedding
        for convolution in self.graph:
            w = w + relu(convolution(self._drop(w), edge_index, edge_weight))
        return w

    def _drop(self, x: Tensor) -> Tensor:
        return dropout(x, self.p, self.training)
