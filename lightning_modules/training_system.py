"""What the training systems share: the network, its settings in the checkpoint, and two curves of every training."""

import warnings

import torch
from pytorch_lightning import LightningModule
from torch import nn


class TrainingSystem(LightningModule):
    """A LightningModule around one network, which logs the learning rate and the norm of the gradient.

    Args:
        network: what is trained.

    Attributes:
        headline: the quantity, beside the loss, by which runs of this task are judged: drawn in curves, averaged in
            the summary, tabulated by study.py. Logged as train/<headline>, val/<headline>, test/<headline>.
        best_by: the metric by which best.ckpt is chosen, and which end of it is good.
        takes: what a batch is of, if data that give something else are to be refused.
    """

    headline = "accuracy"
    best_by = ("val/loss", "min")
    takes: str | None = None

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        with warnings.catch_warnings():
            # From the command line the network is saved as its config; made in Python, it is a module and is left out.
            warnings.filterwarnings("ignore", "Attribute 'network' is an instance of `nn.Module`")
            self.save_hyperparameters(logger=False)
        if isinstance(self.hparams["network"], nn.Module):
            del self.hparams["network"]
        self.network = network

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Log the learning rate, and the norm of the whole gradient before it is clipped."""
        self.log("learning_rate", optimizer.param_groups[0]["lr"])
        gradients = [parameter.grad for parameter in self.parameters() if parameter.grad is not None]
        self.log("train/gradient_norm", nn.utils.get_total_norm(gradients))
