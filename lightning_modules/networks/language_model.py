"""Characters in, the next character's logits out: embedding, stacked recurrent layers, linear head.

Legend: B batch, T time, I embedding, H hidden, V vocabulary.
"""

from collections.abc import Callable
from typing import Any, cast

from jsonargparse.typing import ClosedUnitInterval, PositiveInt
from torch import Tensor, nn

from kernels import LSTM


class CharacterModel(nn.Module):
    """p(t) = W Dropout(h(t)) + b, with h(t) the top layer's state after the characters up to t.

    Weights start as torch's layers set them.

    Args:
        vocabulary: the characters; a token is an index into it.
        layer: makes the recurrent layers from (input_size, hidden_size, num_layers=, dropout=); any of `kernels`.
        embedding_size: width I of a character's vector.
        hidden_size: width H of a state.
        num_layers: number of recurrent layers, each on the states of the one below.
        dropout: probability that a state is dropped on its way up, in training.

    Raises:
        ValueError: if `vocabulary` is None, as when the data do not tell it.
    """

    def __init__(
        self,
        vocabulary: str,
        layer: Callable[[int, int], nn.Module] = LSTM,
        embedding_size: PositiveInt = 64,
        hidden_size: PositiveInt = 256,
        num_layers: PositiveInt = 2,
        dropout: ClosedUnitInterval = 0.0,
    ) -> None:
        super().__init__()
        if not vocabulary:
            raise ValueError("CharacterModel needs a vocabulary, and the data tell none")
        self.vocabulary = vocabulary
        self.embedding = nn.Embedding(len(vocabulary), embedding_size)
        make = cast(Callable[..., nn.Module], layer)
        self.layer = make(embedding_size, hidden_size, num_layers=num_layers, dropout=dropout)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(hidden_size, len(vocabulary))

    def forward(self, tokens: Tensor, state: Any = None) -> tuple[Tensor, Any]:
        """Return the logits [B, T, V] of the character after each token [B, T], and the state after the last.

        Args:
            tokens: indices into the vocabulary.
            state: what an earlier call returned, to go on from there; None begins.
        """
        hidden, state = self.layer.forward_ids(tokens.T, self.embedding.weight, state)  # type: ignore[operator]
        return self.head(self.dropout(hidden)).transpose(0, 1), state
