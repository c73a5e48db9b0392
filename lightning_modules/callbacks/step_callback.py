"""Base class of the callbacks that act once after each optimizer step."""

from abc import abstractmethod
from typing import Any

from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import Callback


class StepCallback(Callback):
    """Calls `on_step_end` after each optimizer step, when its metrics have been logged.

    Lightning's own hook comes after each batch. Where gradients are accumulated, a step has several batches.
    """

    @abstractmethod
    def on_step_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Act after an optimizer step; `trainer.global_step` counts it already."""

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Call `on_step_end` if this batch completed an optimizer step."""
        if not trainer.fit_loop.epoch_loop._should_accumulate():
            self.on_step_end(trainer, pl_module)
