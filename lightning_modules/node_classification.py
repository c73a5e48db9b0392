"""Training system: a network that names the class of every node of one graph.

Legend: N nodes, C classes.
"""

import torch
from jsonargparse.typing import NonNegativeFloat, PositiveFloat
from pytorch_lightning.callbacks import Callback
from pytorch_lightning.utilities.exceptions import MisconfigurationException
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch_geometric.data import Data

from lightning_modules.callbacks.node_pictures import NodePictures
from lightning_modules.training_system import TrainingSystem


class NodeClassification(TrainingSystem):
    """Softmax cross-entropy on the nodes of a split, by Adam.

    A batch is the whole graph, or a sampled neighbourhood of training nodes, which are its first `batch_size`.

    Args:
        network: (x, edge_index) in, logits [N, C] out.
        learning_rate: step size.
        weight_decay: L2 penalty on all weights, or one for each part of the network that is named: {first: 5.0e-4}.

    Raises:
        ValueError: if `weight_decay` names a part that the network does not have.
    """

    takes = "a graph's nodes"
    calls = ("x", "edge_index")

    def __init__(
        self,
        network: nn.Module,
        learning_rate: PositiveFloat = 0.01,
        weight_decay: NonNegativeFloat | dict[str, NonNegativeFloat] = 5e-4,
    ) -> None:
        super().__init__(network)
        self.learning_rate = learning_rate
        parts = dict.fromkeys(name.partition(".")[0] for name, _ in network.named_parameters())
        self.weight_decay = weight_decay if isinstance(weight_decay, dict) else dict.fromkeys(parts, weight_decay)
        for name in self.weight_decay:
            if name not in parts:
                raise ValueError(f"weight_decay: the network has no part {name!r}; it has {', '.join(parts)}")

    def setup(self, stage: str) -> None:
        """See that neighbourhoods are sampled as far as the network sees."""
        fan_outs = getattr(self.trainer.datamodule, "num_neighbors", None)  # type: ignore[attr-defined]
        hops = getattr(self.network, "hops", None)
        if fan_outs is not None and hops == 0:
            raise MisconfigurationException("num_neighbors samples neighbours, and the network sees none: leave it out")
        if fan_outs is not None and getattr(self.network, "whole_graph", False):
            raise MisconfigurationException(
                f"{type(self.network).__name__} weighs by degrees in the whole graph: leave num_neighbors out, or take "
                "GraphSAGE or GAT"
            )
        if fan_outs is not None and hops is not None and len(fan_outs) != hops:
            raise MisconfigurationException(
                f"num_neighbors must have a number for each of the network's {hops} layers, got {fan_outs}"
            )

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
        """Return the drawer of the nodes' map and attention."""
        return [NodePictures()]

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Return Adam with L2 penalty, each part of the network with its own."""
        groups = [
            {"params": [parameter], "weight_decay": self.weight_decay.get(name.partition(".")[0], 0.0)}
            for name, parameter in self.network.named_parameters()
        ]
        return torch.optim.Adam(groups, lr=self.learning_rate)

    def _loss_and_accuracy(self, graph: Data, split: str) -> Tensor:
        nodes = slice(graph.batch_size) if "batch_size" in graph else graph[f"{split}_mask"]
        logits, labels = self(graph)[nodes], graph.y[nodes]
        loss = cross_entropy(logits, labels)
        accuracy = (logits.argmax(1) == labels).float().mean()
        self.log_metric(split, "loss", loss, len(labels))
        self.log_metric(split, "accuracy", accuracy, len(labels))
        return loss
