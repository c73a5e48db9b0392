"""A sequence of symbols in, one class out: embedding, recurrent layer, linear head on the last state.

Legend: B batch, T time, I embedding, H hidden, C classes, V vocabulary.
"""

from collections.abc import Callable
from typing import Any, cast

from jsonargparse.typing import ClosedUnitInterval, PositiveInt
from torch import Tensor, nn

from kernels import LSTM
from lightning_modules.networks.layer_choice import check_recurrent


class RecurrentClassifier(nn.Module):
    """Classify a sequence by the last state of a recurrent layer.

    p = W_ph Dropout(h(T)) + b_p, with h(T) the top layer's last state; the class probabilities are softmax(p). Of two
    directions h(T) is [h→(T), h←(1)], where each has read the whole sequence.

    Matrices, head and embedding start from Kaiming's normal distribution (fan-in, He et al. 2015), biases at zero.
    What else a layer owns, such as the vectors of diagonal peepholes, keeps the layer's own initialisation.

    Args:
        vocab_size: number of symbols V.
        num_classes: number of classes C.
        layer: makes the recurrent layer from (input_size, hidden_size); any layer of `kernels`, or one of your own
            with its `forward_ids(ids, embedding_weight, output="last")`.
        embedding_size: width I of a symbol's vector.
        hidden_size: width H of the state.
        num_layers: number of recurrent layers, each on the states of the one below.
        bidirectional: whether a second layer reads from the end to the beginning.
        dropout: probability that a unit of a state is dropped on its way up, in training.

    Raises:
        ValueError: if `vocab_size` or `num_classes` is None, as when the data do not tell them, or `layer` is one layer
            and has a dropout of its own.
    """

    def __init__(
        self,
        vocab_size: int,
        num_classes: int,
        layer: Callable[[int, int], nn.Module] = LSTM,
        embedding_size: PositiveInt = 64,
        hidden_size: PositiveInt = 256,
        num_layers: PositiveInt = 1,
        bidirectional: bool = False,
        dropout: ClosedUnitInterval = 0.0,
    ) -> None:
        super().__init__()
        if vocab_size is None or num_classes is None:
            raise ValueError("RecurrentClassifier needs vocab_size and num_classes, and the data tell neither")
        self.num_classes = num_classes
        self.embedding = nn.Embedding(vocab_size, embedding_size)
        options: dict[str, Any] = {}  # only those that are asked for: `layer` may have its own, or be another's
        if num_layers > 1:
            options |= {"num_layers": num_layers, "dropout": dropout}
        if bidirectional:
            options["bidirectional"] = True
        self.layer = cast(Callable[..., nn.Module], layer)(embedding_size, hidden_size, **options)
        check_recurrent(self.layer, self)
        if getattr(self.layer, "dropout", 0) and getattr(self.layer, "num_layers", 2) == 1:
            raise ValueError("the layer's dropout acts between layers, and there is one; give --model.network.dropout")
        self.dropout = nn.Dropout(dropout)
        directions = 2 if getattr(self.layer, "bidirectional", False) else 1
        self.head = nn.Linear(directions * hidden_size, num_classes)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the initial weights anew."""
        for name, parameter in self.named_parameters():
            if "bias" in name:
                nn.init.zeros_(parameter)
            elif "peephole" not in name:
                # The embedding [V, I] is a matrix on one-hot vectors of V symbols: its fan-in is torch's fan-out.
                nn.init.kaiming_normal_(parameter, mode="fan_out" if parameter is self.embedding.weight else "fan_in")

    def forward(self, tokens: Tensor) -> Tensor:
        """Return the logits [B, C] of a batch of sequences [B, T]."""
        forward_ids = cast(Callable[..., tuple[Tensor, Any]], self.layer.forward_ids)
        last, _ = forward_ids(tokens.T, self.embedding.weight, output="last")  # [B, H]
        return self.head(self.dropout(last))
