"""Training system: a network that reads a sequence and names its class."""

import warnings
from typing import cast

import torch
from jsonargparse.typing import PositiveFloat
from pytorch_lightning import LightningModule
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torchmetrics import Metric
from torchmetrics.classification import MulticlassAccuracy


class SequenceClassifier(LightningModule):
    """Softmax cross-entropy on the class of a sequence, by Adam.

    L = −log softmax(p)[label], the mean over the batch. Accuracy is the share of a batch named right.

    Args:
        network: tokens [B, T] in, logits [B, C] out; its attribute `num_classes` tells C.
        learning_rate: Adam's step size.
    """

    def __init__(self, network: nn.Module, learning_rate: PositiveFloat = 1e-4) -> None:
        super().__init__()
        with warnings.catch_warnings():
            # From the command line the network is saved as its config; made in Python, it is a module and is left out.
            warnings.filterwarnings("ignore", "Attribute 'network' is an instance of `nn.Module`")
            self.save_hyperparameters(logger=False)
        if isinstance(self.hparams["network"], nn.Module):
            del self.hparams["network"]
        self.network = network
        self.learning_rate = learning_rate
        self.accuracy = nn.ModuleDict(
            {
                f"{split}_accuracy": MulticlassAccuracy(cast(int, network.num_classes), average="micro")
                for split in ("train", "val", "test")
            }
        )

    def forward(self, tokens: Tensor) -> Tensor:
        """Return the logits [B, C] of a batch of sequences [B, T]."""
        return self.network(tokens)

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        """Return the loss of one batch; log it with its accuracy and the learning rate."""
        loss = self._loss_and_accuracy(batch, "train")
        self.log("learning_rate", self.optimizers().param_groups[0]["lr"])  # type: ignore[union-attr]
        return loss

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        """Log loss and accuracy over the validation split."""
        self._loss_and_accuracy(batch, "val")

    def test_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        """Log loss and accuracy over the test split."""
        self._loss_and_accuracy(batch, "test")

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Return Adam over all weights."""
        return torch.optim.Adam(self.parameters(), lr=self.learning_rate)

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Log the norm of the whole gradient, before it is clipped."""
        gradients = [parameter.grad for parameter in self.parameters() if parameter.grad is not None]
        self.log("train/gradient_norm", nn.utils.get_total_norm(gradients))

    def _loss_and_accuracy(self, batch: tuple[Tensor, Tensor], split: str) -> Tensor:
        tokens, labels = batch  # [B, T], [B]
        logits = self(tokens)  # [B, C]
        loss = cross_entropy(logits, labels)
        accuracy = cast(Metric, self.accuracy[f"{split}_accuracy"])
        accuracy(logits, labels)
        self.log(f"{split}/loss", loss, batch_size=len(labels), prog_bar=True)
        self.log(f"{split}/accuracy", accuracy, batch_size=len(labels), prog_bar=True)
        return loss
