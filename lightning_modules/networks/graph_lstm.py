"""Text classification with a graph convolution over words below an LSTM, after Gao, Wang, Pi et al. 2020.

Paper: doi:10.1088/1742-6596/1575/1/012130. Legend: B texts, T words of the longest text, V vocabulary, E edges between
words, D embedding size, H hidden units of the LSTM, C classes.
"""

from collections.abc import Callable
from typing import Literal, cast

import torch
from jsonargparse.typing import ClosedUnitInterval, NonNegativeInt, PositiveInt
from torch import Tensor, nn
from torch.nn.functional import dropout, embedding, normalize, relu

from kernels import LSTM, RecurrentLayer
from lightning_modules.networks.checks import require
from lightning_modules.networks.gcn import GraphConvolution
from lightning_modules.networks.recurrent_layer import check_recurrent, output_width
from lightning_modules.networks.spectral import spectral_vectors


def bidirectional_lstm(input_size: int, hidden_size: int) -> LSTM:
    """Return a bidirectional LSTM."""
    return LSTM(input_size, hidden_size, bidirectional=True)


class GraphLSTM(nn.Module):
    """Graph convolutions over the word graph, a bidirectional LSTM over each text, attention, a linear layer.

        W⁰ = E,  Wᵏ⁺¹ = Wᵏ + relu(Â Wᵏ U_k + b_k)       embeddings of all words [V, D], Â that of `GraphConvolution`
        h_t = BiLSTM(w_1 … w_T)_t                        w_t the row of W for the t-th word of the text
        a_t = softmax_t(v · tanh(A [h_t, w_t] + b))
        d = Σ_v m_v w_v,  m_v = n_v idf_v / |n idf|      messages to the text's own node, from each word with its TF-IDF
        logits = P [Σ_t a_t [h_t, w_t], d] + c

    The paper puts a GCN over a graph of the corpus below an LSTM with attention. This is a reimplementation from its
    description. The edges between words, and between words and texts, are those of TextGCN (Yao, Mao & Luo 2019,
    arXiv:1809.05679). Graph, LSTM and attention can each be left out, for comparison; without the graph there is no d.
    `start_from` sets E and idf before the training.

    Args:
        vocab_size: size V of the vocabulary; token 0 is an unknown word.
        num_classes: number C of classes.
        embedding_size: size D of a word's embedding.
        hidden_size: width H of the LSTM, per direction; 0 for no recurrent layer, that is w_t instead of [h_t, w_t].
        graph_layers: number of graph convolutions; 0 for no graph.
        layer: makes the recurrent layer from (D, H).
        pooling: "attention", or "mean" for equal weights a_t.
        dropout: dropout probability of the rows of W, the same for a word in all texts of a batch, and of the sum.
        word_dropout: probability that a word is replaced by the unknown word in training.

    Raises:
        ValueError: if the data module defines no vocab_size or num_classes, or the layer is not one of `kernels`.
    """

    def __init__(
        self, vocab_size: int, num_classes: int,
        embedding_size: PositiveInt = 128, hidden_size: NonNegativeInt = 32, graph_layers: NonNegativeInt = 1,
        layer: Callable[[int, int], nn.Module] = bidirectional_lstm,
        pooling: Literal["attention", "mean"] = "attention", dropout: ClosedUnitInterval = 0.5,
        word_dropout: ClosedUnitInterval = 0.5,
    ) -> None:  # fmt: skip
        super().__init__()
        self.idf: Tensor
        require(self, vocab_size=vocab_size, num_classes=num_classes)
        self.num_classes, self.p, self.word_dropout = num_classes, dropout, word_dropout
        self.embedding = nn.Parameter(0.1 * torch.randn(vocab_size, embedding_size))
        self.graph = nn.ModuleList(GraphConvolution(embedding_size, embedding_size) for _ in range(graph_layers))
        self.layer = layer(embedding_size, hidden_size) if hidden_size else None
        if self.layer is not None:
            check_recurrent(self.layer, self)
        width = output_width(self.layer, hidden_size) + embedding_size
        self.register_buffer("idf", torch.ones(vocab_size))
        self.attention = None
        if pooling == "attention":
            hidden = hidden_size or embedding_size
            self.attention = nn.Sequential(nn.Linear(width, hidden), nn.Tanh(), nn.Linear(hidden, 1, bias=False))
        self.head = nn.Linear(width + (embedding_size if graph_layers else 0), num_classes)

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
        """Return the vector [Σ_t a_t [h_t, w_t], d] of each text [B, ·] and the weights a [B, T]."""
        if self.training:
            words = words.masked_fill(torch.rand(words.shape, device=words.device) < self.word_dropout, 0)
        chosen, places = words.unique(return_inverse=True)  # the words of these texts [n], and where each stands [B, T]
        w = self._drop(self.word_vectors(edge_index, edge_weight, chosen))  # [n, D]
        x = embedding(places, w)  # [B, T, D]
        if self.layer is not None:
            h, _ = cast(RecurrentLayer, self.layer).forward_ids(places.T, w, lengths=lengths)
            x = torch.cat([h.transpose(0, 1), x], 2)
        padding = torch.arange(words.shape[1], device=words.device) >= lengths[:, None]  # [B, T]
        scores = torch.zeros_like(x[..., 0]) if self.attention is None else self.attention(x).squeeze(2)
        weights = scores.masked_fill(padding, -torch.inf).softmax(1)
        vectors = (weights[:, None] @ x).squeeze(1)
        if self.graph:
            counts = self.idf[words].masked_fill(padding, 0)
            tf_idf = normalize(w.new_zeros(len(words), len(w)).scatter_add(1, places, counts.to(w.dtype)))  # [B, n]
            vectors = torch.cat([vectors, tf_idf @ w], 1)
        return vectors, weights

    def start_from(self, edge_index: Tensor, edge_weight: Tensor, idf: Tensor) -> None:
        """Set E to the leading eigenvectors of the word graph, if the network has one, and idf.

        Args:
            edge_index: edges of the word graph, in both directions [2, E].
            edge_weight: their weights [E].
            idf: inverse document frequency of each word [V].
        """
        self.idf.copy_(idf)
        if self.graph and edge_weight.numel():
            vectors = spectral_vectors(edge_index, edge_weight, *self.embedding.shape)
            self.embedding.data.copy_(0.1 * vectors)

    def word_vectors(self, edge_index: Tensor, edge_weight: Tensor, words: Tensor | None = None) -> Tensor:
        """Return the embeddings after the graph convolutions: of some words [n, D], or of all [V, D]."""
        w: Tensor = self.embedding
        for convolution in self.graph[:-1]:  # whose neighbours are needed by the last one
            w = w + relu(convolution(w, edge_index, edge_weight))
        own = w if words is None else embedding(words, w)
        for convolution in self.graph[-1:]:
            own = own + relu(convolution(w, edge_index, edge_weight, words))
        return own

    def _drop(self, x: Tensor) -> Tensor:
        return dropout(x, self.p, self.training)
