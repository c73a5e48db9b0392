"""Ctrl-C and SIGTERM end a run at a step's end, saved, so that it can go on as if nothing had happened."""

from typing import Any

import torch
from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import Callback

from lightning_modules.callbacks.checkpoints import Checkpoints
from lightning_modules.signals import Stopped, signals


class StopOnSignal(Callback):
    """Save a run where it may be saved, and end it there after SIGINT or SIGTERM. A second signal ends it at once.

    Lightning by itself breaks into a half-done step. With several processes all of them stop after the same step.
    Before the first step and after the last one a signal ends the run where it arrives.

    Args:
        checkpoints: saves the run.
    """

    def __init__(self, checkpoints: Checkpoints) -> None:
        self.checkpoints = checkpoints
        self._agreed = False

    def step_done(self, trainer: Trainer, over: bool) -> None:
        """Save, if it is time; leave, if a signal came. Called by the loops between two steps.

        Args:
            trainer: the run's.
            over: whether this was the last step.
        """
        if over or trainer.global_step % self.checkpoints.every_n_steps == 0:
            self.checkpoints.save(trainer)
        received = signals.received or 0
        if trainer.world_size > 1:  # collective, so that no process waits for one that has left
            tensor = torch.tensor(received, device=trainer.strategy.root_device)
            received = int(trainer.strategy.reduce(tensor, reduce_op="max"))
        if received:
            self.checkpoints.save(trainer)
            self._agreed = True
            raise Stopped(received)

    def on_sanity_check_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take over both signals; this comes after Lightning has set its own handlers."""
        signals.take_over()

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take over both signals, and let them wait for the end of a step."""
        signals.take_over()
        signals.wait_for_step()

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Let signals wait no more: the last step is saved."""
        signals.wait_no_more()

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take over both signals, as for the training."""
        signals.take_over()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Pass a signal on to the processes that this one has started."""
        launcher: Any = trainer.strategy.launcher
        if isinstance(exception, Stopped) and not self._agreed and hasattr(launcher, "kill"):
            launcher.kill(exception.signum)
