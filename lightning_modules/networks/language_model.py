"""Character language model: embedding, recurrent layers, and a linear layer on every state.

Legend: B batch, T time steps, I embedding size, H hidden units, V vocabulary.
"""

from collections.abc import Callable
from inspect import signature
from typing import Any, cast

import torch
from jsonargparse.typing import ClosedUnitInterval, PositiveInt
from torch import Tensor, nn

from kernels import LSTM
from kernels.decode import Decoder
from kernels.layer import RecurrentLayer
from lightning_modules.networks.checks import require


class CharacterModel(nn.Module):
    """Logits(t) = W Dropout(h(t)) + b, with h(t) the state of the top layer after the characters up to time t.

    The weights start from the initial values of torch's layers.

    Args:
        vocabulary: the characters; a token is an index into this string.
        layer: makes the recurrent layers from (input_size, hidden_size, num_layers=, dropout=): a class of `kernels`.
        embedding_size: size I of a character's embedding.
        hidden_size: width H of the state.
        num_layers: number of stacked recurrent layers.
        dropout: dropout probability between layers and before the linear layer.

    Raises:
        ValueError: if the data module defines no vocabulary, or the layer is not one of `kernels`, is batch first or
            bidirectional.
    """

    capturable = True  # training passes can be CUDA graphs, see `callbacks/cuda_graphs.py`

    def __init__(
        self, vocabulary: str,
        layer: Callable[[int, int], nn.Module] = LSTM, embedding_size: PositiveInt = 64,
        hidden_size: PositiveInt = 256, num_layers: PositiveInt = 2, dropout: ClosedUnitInterval = 0.0,
    ) -> None:  # fmt: skip
        super().__init__()
        require(self, vocabulary=vocabulary)
        self.vocabulary = vocabulary
        self.sizes = {"embedding_size": embedding_size, "hidden_size": hidden_size, "num_layers": num_layers}
        self.embedding = nn.Embedding(len(vocabulary), embedding_size)
        make = cast(Callable[..., RecurrentLayer], layer)
        self.layer = make(embedding_size, hidden_size, num_layers=num_layers, dropout=dropout)
        if not isinstance(self.layer, RecurrentLayer) or self.layer.batch_first:
            raise ValueError("CharacterModel needs a layer of kernels, time first (no batch_first)")
        if self.layer.bidirectional:
            raise ValueError("a language model cannot be bidirectional: it would read the characters it has to predict")
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(self.layer.state_widths[0], len(vocabulary))

    def forward(self, tokens: Tensor, state: Any = None) -> tuple[Tensor, Any]:
        """Return the logits [B, T, V] of the character after each token, and the state after the last token.

        Args:
            tokens: indices into the vocabulary [B, T].
            state: the state that an earlier call returned, to continue from it; None for the zero state.
        """
        hidden, state = self.layer.forward_ids(tokens.T, self.embedding.weight, state)
        return self.head(self.dropout(hidden)).transpose(0, 1), state

    def encode(self, text: str) -> Tensor:
        """Return the tokens [T] of a text of known characters, on the device of the weights."""
        index = {character: token for token, character in enumerate(self.vocabulary)}
        return torch.tensor([index[character] for character in text], device=self.head.weight.device)

    def decode(self, tokens: Tensor) -> str:
        """Return the text of tokens [T]."""
        return "".join(self.vocabulary[token] for token in tokens.tolist())

    def decoder(self, dtype: torch.dtype | None = None) -> Decoder:
        """Return a sampler of this network; see `kernels.decode`.

        Args:
            dtype: dtype of the matrix products; None takes that of the weights.
        """
        return Decoder(self.layer, self.embedding.weight, self.head.weight, self.head.bias, dtype)

    def description(self) -> dict[str, Any]:
        """Return the arguments that rebuild this network, as plain values for a checkpoint."""
        values = {name: getattr(self.layer, name, None) for name in own_options(type(self.layer))}
        options = {name: value for name, value in values.items() if isinstance(value, bool | int | float | str | tuple)}
        return {"vocabulary": self.vocabulary, "cell": type(self.layer).__name__, "cell_options": options, **self.sizes}


def own_options(layer: type[RecurrentLayer]) -> list[str]:
    """Return the names of the constructor's arguments that change a layer's equations, such as `nonlinearity`.

    These are `bias`, `proj_size`, `zoneout` and all arguments that other recurrent layers lack. A layer keeps each as
    an attribute.
    """
    parameters = [
        parameter
        for parent in reversed(layer.__mro__)
        if issubclass(parent, RecurrentLayer) and "__init__" in vars(parent)
        for parameter in signature(parent.__init__).parameters.values()
        if parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY)
    ]
    common = signature(RecurrentLayer.__init__).parameters.keys() - {"bias", "proj_size", "zoneout"}
    return list(dict.fromkeys(parameter.name for parameter in parameters if parameter.name not in common))
