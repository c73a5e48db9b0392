"""Training system: a network that names the class of a text, with the help of a graph of words.

A batch is a `Texts` of datamodules.labelled_texts. Legend: B texts, T words, C classes.
"""

from typing import Any, cast

import torch
from jsonargparse.typing import PositiveFloat
from torch import Tensor, nn
from torchmetrics.classification import MulticlassF1Score

from lightning_modules.sequence_classifier import SequenceClassifier


class TextClassification(SequenceClassifier):
    """Softmax cross-entropy on the class of a text, by Adam, whose step size falls to 0 along a cosine.

    Beside accuracy stands the macro-F1 of an evaluation, the mean over classes of 2 · precision · recall / (precision +
    recall): where most texts are of few classes, accuracy says little of the others.

    Args:
        network: (words [B, T], lengths [B], edge_index, edge_weight) in, logits [B, C] out; `num_classes` tells C.
        learning_rate: step size at the start.
    """

    takes = "labelled texts"
    calls = ("words", "lengths", "edge_index", "edge_weight")
    monitor, mode = "val/accuracy", "max"
    faster_in_bf16 = False

    def __init__(self, network: nn.Module, learning_rate: PositiveFloat = 5e-3) -> None:
        super().__init__(network, learning_rate)
        C = cast(int, network.num_classes)
        self.f1 = nn.ModuleDict({f"{split}_f1": MulticlassF1Score(C, average="macro") for split in ("val", "test")})

    def configure_optimizers(self) -> Any:
        """Return Adam over all weights, and the fall of its step size."""
        return self.cosine_decay(torch.optim.Adam(self.parameters(), lr=self.learning_rate))

    def log_quality(self, logits: Tensor, labels: Tensor, split: str) -> None:
        """Log accuracy, and macro-F1 in an evaluation."""
        super().log_quality(logits, labels, split)
        if split != "train":
            metric: Any = self.f1[f"{split}_f1"]
            metric(logits, labels)
            self.log(f"{split}/macro_f1", metric, batch_size=len(labels))
