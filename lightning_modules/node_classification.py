"""Training system: classification of the nodes of one graph.

Legend: N nodes, C classes.
"""

import torch
from jsonargparse.typing import NonNegativeFloat, PositiveFloat
from pytorch_lightning.callbacks import Callback
from torch import Tensor, nn

from datamodules.batches import NodeBatch
from lightning_modules.callbacks.node_pictures import NodePictures
from lightning_modules.errors import UserError
from lightning_modules.training_system import Split, TrainingSystem


class NodeClassification(TrainingSystem):
    """Softmax cross-entropy on the nodes of a split, minimised by Adam.

    A batch is the whole graph, or a sampled neighbourhood of some training nodes.

    Args:
        network: a network that maps (x, edge_index) to logits [N, C].
        learning_rate: Adam's learning rate.
        weight_decay: weight of the L2 penalty on all parameters, or one for each named part of the network, such as
            {first: 5.0e-4}; parts that are not named have none.

    Raises:
        ValueError: if `weight_decay` names a part that the network does not have.
    """

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
        """Check that sampled data have a number of neighbours for each layer of the network.

        Raises:
            UserError: if not, or if the network uses no neighbours or needs the whole graph.
        """
        fan_outs = getattr(self.trainer.datamodule, "num_neighbors", None)  # type: ignore[attr-defined]
        if fan_outs is None:
            return
        hops = getattr(self.network, "hops", None)
        if hops == 0:
            raise UserError("num_neighbors samples neighbours, which this network does not use: leave it out")
        if getattr(self.network, "whole_graph", False):
            raise UserError(
                f"{type(self.network).__name__} needs the degrees in the whole graph: leave num_neighbors out, or use "
                "GraphSAGE or GAT"
            )
        if hops is not None and len(fan_outs) != hops:
            raise UserError(f"num_neighbors must have a number for each of the network's {hops} layers, got {fan_outs}")

    def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
        """Return logits [N, C] of all nodes."""
        return self.network(x, edge_index)

    def step(self, batch: NodeBatch, split: Split) -> Tensor:
        """Return the loss of the nodes in the batch's mask; log it with their accuracy."""
        logits = self(batch.x, batch.edge_index)
        return self.classify(split, logits[batch.mask], batch.y[batch.mask])

    def predict_step(self, batch: NodeBatch, batch_idx: int = 0) -> dict[str, Tensor]:
        """Return the probabilities of the classes of the nodes in the batch's mask."""
        return {"probability": self(batch.x, batch.edge_index)[batch.mask].softmax(1)}

    def configure_callbacks(self) -> list[Callback]:
        """Return the callback that draws the nodes and the attention."""
        return [NodePictures()]

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Return Adam with the L2 penalty of each part of the network."""
        groups = [
            {"params": [parameter], "weight_decay": self.weight_decay.get(name.partition(".")[0], 0.0)}
            for name, parameter in self.network.named_parameters()
        ]
        return torch.optim.Adam(groups, lr=self.learning_rate, fused=self.fused)
