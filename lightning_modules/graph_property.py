"""Training system: a network that tells a property of every graph, a class or a quantity.

Legend: B graphs, K outputs.
"""

from typing import Any

import torch
from jsonargparse.typing import NonNegativeFloat, PositiveFloat
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, mse_loss
from torch_geometric.data import Batch
from torchmetrics import MeanSquaredError

from lightning_modules.training_system import TrainingSystem


class GraphProperty(TrainingSystem):
    """Cross-entropy and accuracy for a class; for a quantity squared error, and RMSE in the quantity's own unit.

    A quantity is standardised by mean and standard deviation of the training graphs, which a checkpoint holds. Trained
    by AdamW, with the learning rate falling to 0 along a cosine.

    Args:
        network: (x, edge_index, edge_attr, batch, num_graphs) in; logits [B, K] or a standardised quantity [B, 1] out.
        learning_rate: step size at the start.
        weight_decay: share of each weight that is taken off at a step, per learning rate.
        target_mean: of a quantity, the mean over the training graphs; train.py asks the data.
        target_std: its standard deviation.
    """

    takes = "molecules"
    calls = ("x", "edge_index", "edge_attr", "batch", "num_graphs")
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
        self.rmse = nn.ModuleDict({f"{split}_rmse": MeanSquaredError(squared=False) for split in ("val", "test")})

    def forward(self, graphs: Batch) -> Tensor:
        """Return logits [B, K], or the quantity in its own unit [B]."""
        x, edge_attr = (None if each is None else each.to(self.dtype) for each in (graphs.x, graphs.edge_attr))
        outputs = self.network(x, graphs.edge_index, edge_attr, graphs.batch, graphs.num_graphs)
        return outputs[:, 0] * self.std + self.mean if graphs.y.is_floating_point() else outputs

    def training_step(self, graphs: Batch, batch_idx: int) -> Tensor:
        """Return the loss; log it with accuracy or RMSE."""
        return self._loss(graphs, "train")

    def validation_step(self, graphs: Batch, batch_idx: int) -> None:
        """Log loss and accuracy or RMSE."""
        self._loss(graphs, "val")

    def test_step(self, graphs: Batch, batch_idx: int) -> None:
        """Log loss and accuracy or RMSE."""
        self._loss(graphs, "test")

    def configure_optimizers(self) -> Any:
        """Return AdamW, and the fall of its step size over the whole training."""
        optimizer = torch.optim.AdamW(self.parameters(), self.learning_rate, weight_decay=self.weight_decay)
        return self.cosine_decay(optimizer)

    def _loss(self, graphs: Batch, split: str) -> Tensor:
        outputs, y, size = self(graphs), graphs.y, graphs.num_graphs
        if not y.is_floating_point():
            loss = cross_entropy(outputs, y)
            self.log_metric(split, "loss", loss, size)
            self.log_metric(split, "accuracy", (outputs.argmax(1) == y).float().mean(), size)
            return loss
        loss = mse_loss(outputs, y) / self.std**2
        rmse: Any = self.log_metric(split, "loss", loss, size).sqrt() * self.std
        if split != "train":  # over all batches of a split, not the mean of the batches' own
            rmse = self.rmse[f"{split}_rmse"]
            rmse.update(outputs, y)
        self.log(f"{split}/rmse", rmse, batch_size=size, sync_dist=split != "train", prog_bar=True)
        return loss
