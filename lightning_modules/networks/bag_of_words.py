"""Text classification by a bag of words: the baseline that sees neither the order of words nor a graph.

Legend: B texts, T words, V vocabulary, H hidden units, C classes.
"""

import torch
from jsonargparse.typing import ClosedUnitInterval, PositiveInt
from torch import Tensor, nn
from torch.nn.functional import dropout, embedding_bag, relu

from lightning_modules.networks.checks import require


class BagOfWords(nn.Module):
    """Logits = P Dropout(relu(Σ_t E[w_t] / T + b)) + c, the mean over the words of a text: a wide MLP on word counts.

    WideMLP of Galke & Scherp 2022, arXiv:2109.03777: one hidden layer of 1024 units over the bag of words.

    Args:
        vocab_size: size V of the vocabulary.
        num_classes: number C of classes.
        hidden_size: width H of the hidden layer.
        dropout: dropout probability of the hidden layer.

    Raises:
        ValueError: if the data module defines no vocab_size or num_classes.
    """

    def __init__(
        self, vocab_size: int, num_classes: int,
        hidden_size: PositiveInt = 1024, dropout: ClosedUnitInterval = 0.5,
    ) -> None:  # fmt: skip
        super().__init__()
        require(self, vocab_size=vocab_size, num_classes=num_classes)
        self.num_classes, self.p = num_classes, dropout
        self.embedding = nn.Parameter(0.1 * torch.randn(vocab_size, hidden_size))
        self.bias = nn.Parameter(torch.zeros(hidden_size))
        self.head = nn.Linear(hidden_size, num_classes)

    def forward(self, words: Tensor, lengths: Tensor, edge_index: Tensor, edge_weight: Tensor) -> Tensor:
        """Return the logits [B, C].

        Args:
            words: words of the texts [B, T]; those after a text's end are ignored.
            lengths: number of words of each text [B].
            edge_index: not used.
            edge_weight: not used.
        """
        inside = torch.arange(words.shape[1], device=words.device) < lengths[:, None]  # [B, T]
        starts = lengths.cumsum(0) - lengths
        h = relu(embedding_bag(words[inside], self.embedding, starts, mode="mean") + self.bias)
        return self.head(dropout(h, self.p, self.training))
