"""Pictures of the nodes of a graph after training: a 2-D map of their hidden features, and their attention."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import Callback
from torch import Tensor
from torch.nn.functional import normalize, pad

from datamodules.batches import NodeBatch
from lightning_modules.callbacks.colours import colour, marker
from lightning_modules.callbacks.evaluation import evaluation
from lightning_modules.callbacks.tensorboard import RunTensorBoard

if TYPE_CHECKING:
    from matplotlib.figure import Figure  # slow to import, and needed only at the end

LEGIBLE = 50  # most nodes for which the picture of attention can be read


class NodePictures(Callback):
    """Draw `nodes.png` in the run's folder at the end of a training, and `attention.png` if the graph is small.

    TensorBoard shows both as images, and the hidden features of all nodes in its projector.
    """

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Draw the graph on which the network is validated."""
        data = trainer.datamodule  # type: ignore[attr-defined]
        network: Any = pl_module.network
        if not trainer.is_global_zero or data is None or not hasattr(network, "hidden"):
            return
        graph: NodeBatch = data.transfer_batch_to_device(next(iter(data.val_dataloader())), pl_module.device, 0)
        with evaluation(network):
            hidden = network.hidden(graph.x, graph.edge_index).cpu()
        if not hidden.isfinite().all():  # the training has diverged
            return
        pictures = {"nodes": draw_map(hidden, graph.y.cpu(), getattr(data, "class_names", None))}
        if hasattr(network, "attention") and len(graph.y) <= LEGIBLE:
            with evaluation(network):
                edges, weights = network.attention(graph.x, graph.edge_index)
            pictures["attention"] = draw_attention(edges.cpu(), weights.cpu())
        for logger in trainer.loggers:
            if isinstance(logger, RunTensorBoard):
                board = logger.experiment
                board.add_embedding(hidden, graph.y.tolist(), tag="nodes", global_step=trainer.global_step)
                for name, figure in pictures.items():
                    figure.savefig(Path(logger.log_dir) / f"{name}.png", dpi=120)
                    board.add_figure(f"views/{name}", figure, trainer.global_step, close=False)


def draw_map(hidden: Tensor, classes: Tensor, names: Sequence[str] | None = None) -> Figure:
    """Draw the nodes at the first two principal components of their normalised features, coloured by class.

    Normalisation separates the classes better.

    Args:
        hidden: features of the nodes [N, H].
        classes: of the nodes [N].
        names: names of the classes; None shows their numbers.
    """
    from matplotlib.figure import Figure

    directions = normalize(hidden.float())
    centred = directions - directions.mean(0)
    _, _, axes = torch.linalg.svd(centred, full_matrices=False)
    two = pad(centred @ axes[:2].T, (0, max(0, 2 - len(axes))))  # a layer of one unit has one axis only
    places = two.numpy()
    figure = Figure(figsize=(6.2, 4.5), layout="constrained")
    plot = figure.add_subplot()
    for label in range(int(classes.max()) + 1):
        own = places[(classes == label).numpy()]
        plot.scatter(
            own[:, 0],
            own[:, 1],
            s=max(5, 1200 / len(places)),
            c=colour(label),
            marker=marker(label),
            linewidths=0,
            label=names[label] if names else f"class {label}",
            alpha=0.7,
        )
    plot.set(
        xlabel="first principal component",
        ylabel="second principal component",
        title=f"hidden features of {len(places)} nodes, normalised",
    )
    plot.locator_params(axis="x", nbins=5)  # with more, the numbers of the ticks touch each other
    plot.legend(
        frameon=False,
        fontsize=8,
        markerscale=max(1, min(2.5, len(places) / 100)),  # legible where the nodes are many and small
        loc="upper left",
        bbox_to_anchor=(1, 1),
    )
    return figure


def draw_attention(edges: Tensor, weights: Tensor, names: Sequence[str] | None = None) -> Figure:
    """Draw the attention α of each receiving node, a row that sums to one, to every sending node, a column.

    Args:
        edges: edges from row 0 to row 1 [2, E].
        weights: α of each edge and head [E, heads]; their mean is drawn.
        names: names of the nodes; None shows their numbers.
    """
    from matplotlib.figure import Figure

    N = int(edges.max()) + 1
    table = torch.zeros(N, N).index_put_((edges[1], edges[0]), weights.mean(1).float())
    figure = Figure(figsize=(5, 4.5), layout="constrained")
    plot = figure.add_subplot()
    picture = plot.imshow(table.numpy(), cmap="Blues", vmin=0, vmax=float(table.max()))
    figure.colorbar(picture, label="attention α, mean of the heads")
    plot.set(xlabel="sending node", ylabel="receiving node", title="attention of the first layer")
    every = max(1, N // 10)
    for set_ticks in (plot.set_xticks, plot.set_yticks):
        set_ticks(range(0, N, every), (names or [str(node) for node in range(N)])[::every])
    return figure
