"""Character language model: embedding, recurrent layers, and a linear layer on every state.

Legend: B batch, T time steps, I embedding size, H hidden units, V vocabulary.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, cast

from jsonargparse.typing import ClosedUnitInterval, PositiveInt
from torch import Tensor, nn

import kernels
from kernels import LSTM
from kernels.layer import RecurrentLayer
from lightning_modules.checkpoint_file import read_checkpoint
from lightning_modules.errors import UserError
from lightning_modules.networks.checks import require

CELLS = ("LSTM", "GRU", "RNN", "PeepholeLSTM")  # whose checkpoints need no config
CELL_OPTIONS = ("bias", "nonlinearity", "peephole", "candidate")
SIZES = ("embedding_size", "hidden_size", "num_layers")
MOST = {"embedding_size": 1 << 16, "hidden_size": 1 << 16, "num_layers": 1 << 8}  # larger ones are no such network's


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
        self.head = nn.Linear(hidden_size, len(vocabulary))

    def forward(self, tokens: Tensor, state: Any = None) -> tuple[Tensor, Any]:
        """Return the logits [B, T, V] of the character after each token, and the state after the last token.

        Args:
            tokens: indices into the vocabulary [B, T].
            state: the state that an earlier call returned, to continue from it; None for the zero state.
        """
        hidden, state = self.layer.forward_ids(tokens.T, self.embedding.weight, state)
        return self.head(self.dropout(hidden)).transpose(0, 1), state

    def description(self) -> dict[str, Any]:
        """Return the arguments that rebuild this network, as plain values for a checkpoint."""
        cell = {name: getattr(self.layer, name) for name in CELL_OPTIONS if hasattr(self.layer, name)}
        return {"vocabulary": self.vocabulary, "cell": type(self.layer).__name__, "cell_options": cell, **self.sizes}


def load_model(path: Path) -> CharacterModel:
    """Return the language model of a checkpoint, from the file alone. Class names in it are looked up in a list.

    Raises:
        UserError: if it is no checkpoint, none of a language model, or of a cell that is not in `kernels`.
    """
    checkpoint = read_checkpoint(path)
    description = checkpoint.get("language_model")
    if not isinstance(description, dict) or not isinstance(description.get("vocabulary"), str):
        raise UserError(f"{path} is not a language model's: it has no vocabulary")
    if description.get("cell") not in CELLS:
        raise UserError(f"{path} has the cell {description.get('cell')!r}, which is none of {', '.join(CELLS)}")
    try:
        if not all(0 < int(description[name]) <= MOST[name] for name in SIZES):
            raise ValueError(f"sizes of {', '.join(f'{name} {description[name]}' for name in SIZES)}")
        vocabulary = description["vocabulary"]
        if len(set(vocabulary)) < len(vocabulary) or not vocabulary.encode():  # ValueError for half a character
            raise ValueError("a vocabulary has every character once")
        options = {name: value for name, value in description["cell_options"].items() if name in CELL_OPTIONS}
        layer = partial(getattr(kernels, description["cell"]), **options)
        model = CharacterModel(vocabulary, layer, **{name: int(description[name]) for name in SIZES})
        model.load_state_dict(
            {name.removeprefix("network."): value for name, value in checkpoint["state_dict"].items()}
        )
    except (KeyError, TypeError, ValueError, AttributeError, RuntimeError, OverflowError, MemoryError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"{path} is damaged: its model cannot be made ({reason})") from error
    return model
