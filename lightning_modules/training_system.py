"""What the training systems share: the network, its settings in the checkpoint, and two curves of every training."""

import inspect
import math
import warnings
from typing import Any

import torch
from pytorch_lightning import LightningModule
from pytorch_lightning.utilities.exceptions import MisconfigurationException
from torch import Tensor, nn


class TrainingSystem(LightningModule):
    """A LightningModule around one network, which logs the learning rate and the norm of the gradient.

    Args:
        network: what is trained.

    Attributes:
        primary_metric: the metric, beside the loss, by which runs of this task are judged. It is logged as
            train/<primary_metric>, val/<primary_metric> and test/<primary_metric>, drawn in curves.png, averaged in
            summary.json and tabulated by study.py.
        monitor: the metric by which best.ckpt is chosen.
        mode: "min" or "max", whether lower or higher values of it are better.
        takes: what a batch is of, if data that give something else are to be refused.
        faster_in_bf16: whether steps are faster in bf16-mixed on devices that have bfloat16 instructions;
            `--trainer.precision auto` then chooses it.
        calls: what the network is called with, if a network that takes something else is to be refused.
    """

    primary_metric = "accuracy"
    monitor = "val/loss"
    mode = "min"
    takes: str | None = None
    faster_in_bf16 = False
    calls: tuple[str, ...] = ()

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self._check_calls(network)
        with warnings.catch_warnings():
            # From the command line the network is saved as its config; made in Python, it is a module and is left out.
            warnings.filterwarnings("ignore", "Attribute 'network' is an instance of `nn.Module`")
            self.save_hyperparameters(logger=False)
        if isinstance(self.hparams["network"], nn.Module):
            del self.hparams["network"]
        self.network = network
        self._parts: dict[str, list[Tensor]] = {}  # of the current optimizer step, by the name of the figure

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        """Begin an optimizer step, which has several batches for its parts where gradients are accumulated."""
        if batch_idx % self.trainer.accumulate_grad_batches == 0:
            self._parts.clear()

    def log_metric(self, split: str, name: str, value: Tensor, size: int) -> Tensor:
        """Log `<split>/<name>`: of training the mean over the parts of a step so far, else over the whole split.

        The parts count alike, as they do in the gradient, whatever their sizes.

        Args:
            split: "train", "val" or "test".
            name: of the figure.
            value: its mean over a batch.
            size: of the batch, its weight in the mean over a split.

        Returns:
            What is logged.
        """
        value = value.detach()
        if split == "train":
            parts = self._parts.setdefault(name, [])
            parts.append(value)
            value = torch.stack(parts).mean() if len(parts) > 1 else value
        self.log(f"{split}/{name}", value, batch_size=size, sync_dist=split != "train", prog_bar=True)
        return value

    def _check_calls(self, network: nn.Module) -> None:
        try:
            inspect.signature(network.forward).bind(*self.calls)
        except TypeError as error:
            kind = f"{type(network).__module__}.{type(network).__qualname__}"
            raise ValueError(
                f"{type(self).__name__} calls its network with ({', '.join(self.calls)}), which {kind} does not take "
                f"({error}); name another with --model.network"
            ) from None

    def cosine_decay(self, optimizer: torch.optim.Optimizer) -> dict[str, Any]:
        """Return an optimiser whose step size falls along a cosine, to 0 at the end of the training.

        Raises:
            MisconfigurationException: if the training has no end.
        """
        steps = self.trainer.estimated_stepping_batches  # −1 or infinite, if no end is set
        if not 0 < steps < math.inf:
            raise MisconfigurationException("the step size falls to the end; give --trainer.max_epochs or max_steps")
        # As a function of the step alone: a longer run that goes on from a shorter one falls to its own end.
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: (1 + math.cos(math.pi * step / steps)) / 2)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Log the learning rate, and the norm of the whole gradient before it is clipped."""
        self.log("learning_rate", optimizer.param_groups[0]["lr"])
        gradients = [parameter.grad for parameter in self.parameters() if parameter.grad is not None]
        self.log("train/gradient_norm", nn.utils.get_total_norm(gradients))
