"""Training system: classes of the steps of a sequence, where they have one."""

import torch
from jsonargparse.typing import PositiveFloat
from torch import Tensor, nn

from datamodules.batches import NO_LABEL, JoinedSequenceBatch
from lightning_modules.training_system import Split, TrainingSystem


class SequenceTagger(TrainingSystem):
    """Softmax cross-entropy on the class of every labelled step, minimised by Adam.

    Args:
        network: a network that maps tokens [B, T], and where sequences begin [B, T], to logits [B, T, C].
        learning_rate: Adam's learning rate.
    """

    def __init__(self, network: nn.Module, learning_rate: PositiveFloat = 1e-3) -> None:
        super().__init__(network)
        self.learning_rate = learning_rate

    def forward(self, tokens: Tensor, starts: Tensor) -> Tensor:
        """Return logits [B, T, C] of tokens [B, T]; sequences begin where `starts` is true [B, T]."""
        return self.network(tokens, starts)

    def step(self, batch: JoinedSequenceBatch, split: Split) -> Tensor:
        """Return the loss of the labelled steps of a batch; log it with the accuracy."""
        tokens, starts, labels = batch
        labelled = labels != NO_LABEL
        return self.classify(split, self(tokens, starts)[labelled], labels[labelled])

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Return Adam over all weights."""
        return torch.optim.Adam(self.parameters(), lr=self.learning_rate, fused=self.fused)
