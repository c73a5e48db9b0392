"""Training system: a network that reads a sequence and names its class."""

from typing import cast

import torch
from jsonargparse.typing import PositiveFloat
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torchmetrics import Metric
from torchmetrics.classification import MulticlassAccuracy

from lightning_modules.training_system import TrainingSystem


class SequenceClassifier(TrainingSystem):
    """Softmax cross-entropy on the class of a sequence, by Adam.

    L = −log softmax(p)[label], the mean over the batch. Accuracy is the share of a batch named right.

    Args:
        network: tokens [B, T] in, or whatever else a batch has before its labels, logits [B, C] out; its attribute
            `num_classes` tells C.
        learning_rate: Adam's step size.
    """

    takes = "labelled sequences"
    faster_in_bf16 = True
    calls: tuple[str, ...] = ("tokens",)

    def __init__(self, network: nn.Module, learning_rate: PositiveFloat = 1e-4) -> None:
        super().__init__(network)
        if not hasattr(network, "num_classes"):
            raise ValueError(f"{type(network).__name__} names no class: a network with num_classes is wanted")
        self.learning_rate = learning_rate
        self.accuracy = nn.ModuleDict(
            {
                f"{split}_accuracy": MulticlassAccuracy(cast(int, network.num_classes), average="micro")
                for split in ("val", "test")
            }
        )

    def forward(self, *inputs: Tensor) -> Tensor:
        """Return the logits [B, C] of a batch of sequences."""
        return self.network(*inputs)

    def training_step(self, batch: tuple[Tensor, ...], batch_idx: int) -> Tensor:
        """Return the loss of one batch; log it with its accuracy."""
        return self._loss_and_accuracy(batch, "train")

    def validation_step(self, batch: tuple[Tensor, ...], batch_idx: int) -> None:
        """Log loss and accuracy over the validation split."""
        self._loss_and_accuracy(batch, "val")

    def test_step(self, batch: tuple[Tensor, ...], batch_idx: int) -> None:
        """Log loss and accuracy over the test split."""
        self._loss_and_accuracy(batch, "test")

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Return Adam over all weights."""
        return torch.optim.Adam(self.parameters(), lr=self.learning_rate)

    def _loss_and_accuracy(self, batch: tuple[Tensor, ...], split: str) -> Tensor:
        *inputs, labels = batch  # [B, T], [B]
        logits = self(*inputs)  # [B, C]
        loss = cross_entropy(logits, labels)
        self.log_metric(split, "loss", loss, len(labels))
        self.log_quality(logits, labels, split)
        return loss

    def log_quality(self, logits: Tensor, labels: Tensor, split: str) -> None:
        """Log the accuracy of logits [B, C] on labels [B]."""
        if split == "train":
            self.log_metric(split, "accuracy", (logits.argmax(1) == labels).float().mean(), len(labels))
            return
        accuracy = cast(Metric, self.accuracy[f"{split}_accuracy"])
        accuracy(logits, labels)
        self.log(f"{split}/accuracy", accuracy, batch_size=len(labels), sync_dist=True, prog_bar=True)
