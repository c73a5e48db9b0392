"""Training system: a network that names the class of every node of one graph.

Legend: N nodes, C classes.
"""

import torch
from jsonargparse.typing import NonNegativeFloat, PositiveFloat
from pytorch_lightning.callbacks import Callback
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch_geometric.data import Data

from lightning_modules.callbacks.node_map import NodeMap
from lightning_modules.training_system import TrainingSystem


class NodeClassification(TrainingSystem):
    """Softmax cross-entropy on the nodes of a split, by Adam.

    A batch is the whole graph, or a sampled neighbourhood of training nodes, which are its first `batch_size`.

    Args:
        network: (x, edge_index) in, logits [N, C] out.
        learning_rate: step size.
        weight_decay: L2 penalty on all weights.
    """

    def __init__(
        self, network: nn.Module, learning_rate: PositiveFloat = 0.01, weight_decay: NonNegativeFloat = 5e-4
    ) -> None:
        super().__init__(network)
        self.learning_rate, self.weight_decay = learning_rate, weight_decay

    def forward(self, graph: Data) -> Tensor:
        """Return logits [N, C]."""
        return self.network(graph.x, graph.edge_index)

    def training_step(self, graph: Data, batch_idx: int) -> Tensor:
        """Return the loss of the training nodes; log it with their accuracy."""
        return self._loss_and_accuracy(graph, "train")

    def validation_step(self, graph: Data, batch_idx: int) -> None:
        """Log loss and accuracy of the validation nodes."""
        self._loss_and_accuracy(graph, "val")

    def test_step(self, graph: Data, batch_idx: int) -> None:
        """Log loss and accuracy of the test nodes."""
        self._loss_and_accuracy(graph, "test")

    def configure_callbacks(self) -> list[Callback]:
        """Return the drawer of the map of nodes."""
        return [NodeMap()]

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Return Adam with L2 penalty."""
        return torch.optim.Adam(self.parameters(), lr=self.learning_rate, weight_decay=self.weight_decay)

    def _loss_and_accuracy(self, graph: Data, split: str) -> Tensor:
        nodes = slice(graph.batch_size) if "batch_size" in graph else graph[f"{split}_mask"]
        logits, labels = self(graph)[nodes], graph.y[nodes]
        loss = cross_entropy(logits, labels)
        accuracy = (logits.argmax(1) == labels).float().mean()
        self.log(f"{split}/loss", loss, batch_size=len(labels), prog_bar=True)
        self.log(f"{split}/accuracy", accuracy, batch_size=len(labels), prog_bar=True)
        return loss
