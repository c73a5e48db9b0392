"""Training system: prediction of a property of whole graphs, a class or a quantity.

Legend: B graphs, K outputs.
"""

import functools
from typing import Any

import torch
from jsonargparse.typing import NonNegativeFloat, PositiveFloat
from torch import Tensor, nn
from torch.nn.functional import mse_loss
from torchmetrics import MeanSquaredError

from datamodules.batches import GraphBatch
from lightning_modules.training_system import Split, TrainingSystem

RMSE = functools.partial(MeanSquaredError, squared=False)


class GraphProperty(TrainingSystem):
    """AdamW with cosine decay of the learning rate, on cross-entropy for a class and on squared error for a quantity.

    The network predicts a quantity standardised by the mean and the standard deviation of the training graphs, which
    are part of a checkpoint. The RMSE is in the quantity's own unit.

    Args:
        network: a network that maps (x, edge_index, edge_attr, batch, num_graphs) to logits [B, K], or to a
            standardised quantity [B, 1].
        learning_rate: learning rate at the first step.
        weight_decay: AdamW's decoupled weight decay.
        target_mean: mean of a quantity over the training graphs; train.py takes it from the data.
        target_std: its standard deviation; None if the property is a class.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        network: nn.Module,
        learning_rate: PositiveFloat = 1e-3,
        weight_decay: NonNegativeFloat = 0.01,
        target_mean: float | None = None,
        target_std: float | None = None,
    ) -> None:
        super().__init__(network)
        self.learning_rate, self.weight_decay = learning_rate, weight_decay
        if target_std is not None:
            self.primary_metric = "rmse"
        self.register_buffer("mean", torch.tensor(target_mean or 0.0))
        self.register_buffer("std", torch.tensor(target_std or 1.0))

    def forward(self, x: Tensor, edge_index: Tensor, edge_attr: Tensor, batch: Tensor, num_graphs: int) -> Tensor:
        """Return logits [B, K], or the quantity in its own unit [B, 1]."""
        outputs = self.network(x, edge_index, edge_attr, batch, num_graphs)
        return outputs * self.std + self.mean if self.primary_metric == "rmse" else outputs

    def step(self, batch: GraphBatch, split: Split) -> Tensor:
        """Return the loss of a batch of graphs; log it with accuracy or RMSE."""
        *inputs, y = batch
        outputs = self(*inputs)
        if self.primary_metric == "accuracy":
            return self.classify(split, outputs, y)
        loss = mse_loss(outputs[:, 0], y) / self.std**2
        self.log_mean(split, "loss", loss, batch.num_graphs)
        self.log_metric(split, "rmse", RMSE, outputs[:, 0].detach(), y)
        return loss

    def predict_step(self, batch: GraphBatch, batch_idx: int = 0) -> dict[str, Tensor]:
        """Return the probabilities of the classes [B, K], or the quantity in its own unit [B]."""
        *inputs, _ = batch
        outputs = self(*inputs)
        return {"predicted": outputs[:, 0]} if self.primary_metric == "rmse" else {"probability": outputs.softmax(1)}

    def configure_optimizers(self) -> Any:
        """Return AdamW with cosine decay."""
        optimizer = torch.optim.AdamW(
            self.parameters(), self.learning_rate, weight_decay=self.weight_decay, fused=self.fused
        )
        return self.cosine_decay(optimizer)
