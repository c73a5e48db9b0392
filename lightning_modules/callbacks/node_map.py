"""A map of a graph's nodes after training: their hidden features in two dimensions, coloured by class."""

from pathlib import Path

import torch
from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import Callback
from torch import Tensor
from torch_geometric.data import Data

from lightning_modules.runs import RunTensorBoard


class NodeMap(Callback):
    """At the end of a training draw `nodes.png` in the run's folder, and give TensorBoard's projector the features.

    The two axes are the principal ones of the last hidden layer, after the last step.
    """

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Draw the map of the graph on which the network is validated."""
        loaders = trainer.val_dataloaders
        if not trainer.is_global_zero or loaders is None or not hasattr(pl_module.network, "hidden"):
            return
        graph: Data = next(iter(loaders)).to(pl_module.device)
        hidden = hidden_features(pl_module.network, graph).cpu()  # type: ignore[arg-type]
        for logger in trainer.loggers:
            if isinstance(logger, RunTensorBoard):
                draw(hidden, graph.y.cpu(), Path(logger.log_dir) / "nodes.png")
                logger.experiment.add_embedding(hidden, graph.y.tolist(), tag="nodes", global_step=trainer.global_step)


@torch.no_grad()
def hidden_features(network: torch.nn.Module, graph: Data) -> Tensor:
    """Return the last hidden layer [N, H], in evaluation."""
    was_training = network.training
    network.eval()
    hidden = network.hidden(graph.x, graph.edge_index)  # type: ignore[operator]
    network.train(was_training)
    return hidden


def draw(hidden: Tensor, classes: Tensor, path: Path) -> None:
    """Draw nodes at the first two principal components of their features [N, H]."""
    from matplotlib.figure import Figure  # slow to import, and wanted once, at the end

    centred = hidden - hidden.mean(0)
    _, _, axes = torch.linalg.svd(centred, full_matrices=False)
    places = (centred @ axes[:2].T).numpy()
    figure = Figure(figsize=(5, 4.5), layout="constrained")
    plot = figure.add_subplot()
    for label in range(int(classes.max()) + 1):
        own = places[(classes == label).numpy()]
        plot.scatter(own[:, 0], own[:, 1], s=max(3, 900 / len(places)), label=f"class {label}", alpha=0.7)
    plot.set(xlabel="first principal component", ylabel="second", title=f"hidden features of {len(places)} nodes")
    plot.legend(frameon=False, fontsize=8, markerscale=2)
    figure.savefig(path, dpi=120)
