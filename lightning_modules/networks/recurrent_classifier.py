"""Sequence classification: embedding, recurrent layers, and a linear layer on the last state.

Legend: B batch, T time steps, I embedding size, H hidden units, C classes, V vocabulary.
"""

from collections.abc import Callable
from typing import Any, cast

from jsonargparse.typing import ClosedUnitInterval, PositiveInt
from torch import Tensor, nn

from kernels import LSTM
from lightning_modules.networks.checks import require
from lightning_modules.networks.recurrent_layer import check_recurrent, output_width


class RecurrentClassifier(nn.Module):
    """Logits = W_ph Dropout(h(T)) + b_p, with h(T) the last state of the top layer.

    In a bidirectional layer, h(T) is [h→(T), h←(1)]: each direction's state after the whole sequence.

    All matrices, also the embedding, start from Kaiming's normal distribution with fan-in (He et al. 2015,
    arXiv:1502.01852), and the biases from zero. Diagonal peepholes and the gains of norms keep their layer's values.

    Args:
        vocab_size: number V of symbols.
        num_classes: number C of classes.
        layer: makes the recurrent layer from (input_size, hidden_size): a class of `kernels`, or your own layer with
            `forward_ids(ids, embedding_weight, output="last")`.
        embedding_size: size I of a symbol's embedding.
        hidden_size: width H of the state.
        num_layers: number of stacked recurrent layers.
        bidirectional: whether each layer reads in both directions.
        dropout: dropout probability between layers and before the linear layer.

    Raises:
        ValueError: if the data module defines no vocab_size or num_classes, `layer` is not a recurrent layer, or it
            is a single one with a dropout of its own.
    """

    capturable = True  # training passes can be CUDA graphs, see `callbacks/cuda_graphs.py`

    def __init__(
        self, vocab_size: int, num_classes: int,
        layer: Callable[[int, int], nn.Module] = LSTM, embedding_size: PositiveInt = 64,
        hidden_size: PositiveInt = 256, num_layers: PositiveInt = 1, bidirectional: bool = False,
        dropout: ClosedUnitInterval = 0.0,
    ) -> None:  # fmt: skip
        super().__init__()
        require(self, vocab_size=vocab_size, num_classes=num_classes)
        self.num_classes = num_classes
        self.embedding = nn.Embedding(vocab_size, embedding_size)
        options: dict[str, Any] = {}  # only those that were set: `layer` may set its own, or lack them
        if num_layers > 1:
            options |= {"num_layers": num_layers, "dropout": dropout}
        if bidirectional:
            options["bidirectional"] = True
        self.layer = cast(Callable[..., nn.Module], layer)(embedding_size, hidden_size, **options)
        check_recurrent(self.layer, self)
        if getattr(self.layer, "dropout", 0) and getattr(self.layer, "num_layers", 2) == 1:
            raise ValueError(
                "a layer's own dropout acts between layers, and there is only one; set --model.network.dropout"
            )
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(output_width(self.layer, hidden_size), num_classes)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the initial weights again."""
        for name, parameter in self.named_parameters():
            if "bias" in name:
                nn.init.zeros_(parameter)
            elif "peephole" not in name and parameter.dim() > 1:
                # The fan-in of a weight is its dim 1 in torch, but dim 0 of the embedding [V, I] of one-hot symbols.
                nn.init.kaiming_normal_(parameter, mode="fan_out" if parameter is self.embedding.weight else "fan_in")

    def forward(self, tokens: Tensor) -> Tensor:
        """Return the logits [B, C] of sequences of tokens [B, T]."""
        forward_ids = cast(Callable[..., tuple[Tensor, Any]], self.layer.forward_ids)
        last, _ = forward_ids(tokens.T, self.embedding.weight, output="last")  # [B, H]
        return self.head(self.dropout(last))
