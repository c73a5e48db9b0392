"""Training system: classification of texts by a network that reads a graph of words.

Legend: B texts, T words, C classes.
"""

import functools
from typing import Any, cast

import torch
from jsonargparse.typing import ClosedUnitInterval, PositiveFloat
from pytorch_lightning.callbacks import Callback
from torch import Tensor, nn
from torchmetrics.classification import MulticlassF1Score

from datamodules.batches import LabelledTextBatch
from lightning_modules.callbacks.text_pictures import TextPictures, has_attention
from lightning_modules.training_system import Split, TrainingSystem


class TextClassification(TrainingSystem):
    """Softmax cross-entropy on the class of a text, minimised by Adam with cosine decay of the learning rate.

    Validation and test also log macro-F1, the mean over classes of 2 · precision · recall / (precision + recall).
    Accuracy says little about rare classes.

    Args:
        network: a network that maps (words [B, T], lengths [B], edge_index, edge_weight) to logits [B, C], with C as
            its attribute `num_classes`. If it has `start_from(edge_index, edge_weight, idf)`, that is called before the
            training.
        learning_rate: learning rate at the first step.
        label_smoothing: in training, the share of a label that is spread over all classes (Szegedy et al. 2016).
    """

    monitor = "val/accuracy"
    mode = "max"

    def __init__(
        self, network: nn.Module, learning_rate: PositiveFloat = 3e-3, label_smoothing: ClosedUnitInterval = 0.1
    ) -> None:
        super().__init__(network)
        self.learning_rate, self.label_smoothing = learning_rate, label_smoothing
        self._make_f1 = functools.partial(MulticlassF1Score, cast(int, network.num_classes), average="macro")

    def setup(self, stage: str) -> None:
        """Let the network start from the graph of words; the weights of a continued run are loaded later."""
        if stage == "fit" and hasattr(self.network, "start_from"):
            data: Any = self.trainer.datamodule  # type: ignore[attr-defined]
            self.network.start_from(*data.edges, data.idf)  # type: ignore[operator]

    def forward(self, words: Tensor, lengths: Tensor, edge_index: Tensor, edge_weight: Tensor) -> Tensor:
        """Return logits [B, C]."""
        return self.network(words, lengths, edge_index, edge_weight)

    def step(self, batch: LabelledTextBatch, split: Split) -> Tensor:
        """Return the loss of a batch of texts; log it with accuracy and, if held out, macro-F1."""
        *inputs, labels = batch
        logits = self(*inputs)
        if split != "train":
            self.log_metric(split, "macro_f1", self._make_f1, logits, labels)
        return self.classify(split, logits, labels, self.label_smoothing if split == "train" else 0.0)

    def predict_step(self, batch: LabelledTextBatch, batch_idx: int = 0) -> dict[str, Tensor]:
        """Return the probabilities of the classes [B, C], and of a network with attention its weights [B, T]."""
        *inputs, _ = batch
        predicted = {"probability": self(*inputs).softmax(1)}
        if has_attention(self.network):
            predicted["attention"] = self.network.read(*inputs)[1]  # type: ignore[operator]
        return predicted

    def configure_callbacks(self) -> list[Callback]:
        """Return the callback that draws the attention."""
        return [TextPictures()] if has_attention(self.network) else []

    def configure_optimizers(self) -> Any:
        """Return Adam over all weights, with cosine decay."""
        # Most weights are embeddings of words. On a CPU the fused optimizer updates them in one pass over the memory.
        fused = True if self.device.type == "cpu" else self.fused
        return self.cosine_decay(torch.optim.Adam(self.parameters(), lr=self.learning_rate, fused=fused))
