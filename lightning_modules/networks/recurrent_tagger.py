"""A class for every step of a sequence: embedding, recurrent layers, and a linear layer on each state.

Legend: B batch, T time steps, I embedding size, H hidden units, C classes, V vocabulary.
"""

from collections.abc import Callable
from typing import Any, cast

from jsonargparse.typing import PositiveInt
from torch import Tensor, nn

from kernels import LSTM
from lightning_modules.networks.checks import require
from lightning_modules.networks.recurrent_layer import check_recurrent, output_width


class RecurrentTagger(nn.Module):
    """Logits(t) = W_ph h(t) + b_p, with h(t) the state of the top layer after step t.

    Args:
        vocab_size: number V of symbols.
        num_classes: number C of classes.
        layer: makes the recurrent layer from (input_size, hidden_size): a class of `kernels`, or your own layer with
            `forward_ids(ids, embedding_weight, resets=)`.
        embedding_size: size I of a symbol's embedding.
        hidden_size: width H of the state.
        resets: whether the state is zero where a sequence begins; otherwise a row is read as one sequence.

    Raises:
        ValueError: if the data module defines no vocab_size or num_classes, or `layer` is not a recurrent layer.
    """

    def __init__(
        self, vocab_size: int, num_classes: int, layer: Callable[[int, int], nn.Module] = LSTM,
        embedding_size: PositiveInt = 16, hidden_size: PositiveInt = 64, resets: bool = True,
    ) -> None:  # fmt: skip
        super().__init__()
        require(self, vocab_size=vocab_size, num_classes=num_classes)
        self.resets = resets
        self.embedding = nn.Embedding(vocab_size, embedding_size)
        self.layer = cast(Callable[..., nn.Module], layer)(embedding_size, hidden_size)
        check_recurrent(self.layer, self)
        self.head = nn.Linear(output_width(self.layer, hidden_size), num_classes)

    def forward(self, tokens: Tensor, starts: Tensor) -> Tensor:
        """Return the logits [B, T, C] of rows of tokens [B, T]; a sequence begins where `starts` is true [B, T]."""
        forward_ids = cast(Callable[..., tuple[Tensor, Any]], self.layer.forward_ids)
        states, _ = forward_ids(tokens.T, self.embedding.weight, resets=starts.T if self.resets else None)
        return self.head(states).transpose(0, 1)
