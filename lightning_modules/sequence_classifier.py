"""Training system: classification of whole sequences."""

import torch
from jsonargparse.typing import PositiveFloat
from torch import Tensor, nn

from datamodules.batches import SequenceBatch
from lightning_modules.training_system import Split, TrainingSystem


class SequenceClassifier(TrainingSystem):
    """Softmax cross-entropy on the class of a sequence, minimised by Adam.

    Args:
        network: a network that maps tokens [B, T] to logits [B, C].
        learning_rate: Adam's learning rate.
    """

    faster_in_bf16 = True

    def __init__(self, network: nn.Module, learning_rate: PositiveFloat = 1e-4) -> None:
        super().__init__(network)
        self.learning_rate = learning_rate

    def forward(self, tokens: Tensor) -> Tensor:
        """Return logits [B, C] of tokens [B, T]."""
        return self.network(tokens)

    def step(self, batch: SequenceBatch, split: Split) -> Tensor:
        """Return the loss of a batch of sequences; log it with the accuracy."""
        tokens, labels = batch
        return self.classify(split, self(tokens), labels)

    def predict_step(self, batch: SequenceBatch, batch_idx: int = 0) -> dict[str, Tensor]:
        """Return the probabilities of the classes [B, C]."""
        return {"probability": self(batch.tokens).softmax(1)}

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Return Adam over all weights."""
        return torch.optim.Adam(self.parameters(), lr=self.learning_rate, fused=self.fused)
