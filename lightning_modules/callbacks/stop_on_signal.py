"""Ctrl-C and SIGTERM end a run after the current step, with a checkpoint from which it can be continued exactly."""

from typing import Any

import torch
from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import Callback

from lightning_modules.callbacks.checkpoints import Checkpoints
from lightning_modules.signals import Stopped, signals


class StopOnSignal(Callback):
    """Save a run between two steps, and end it there after SIGINT or SIGTERM. A second signal ends it at once.

    Without it Lightning would interrupt a step. With several processes all of them stop after the same step. Before the
    first step and after the last one a signal ends the run at once.

    Args:
        checkpoints: saves the run.
    """

    def __init__(self, checkpoints: Checkpoints) -> None:
        self.checkpoints = checkpoints
        self._agreed = False  # whether all processes stop after the same step, so that none has to be killed

    def step_done(self, trainer: Trainer, over: bool) -> None:
        """Save if a save is due, and stop if a signal was received. Called by the loops between two steps.

        Args:
            trainer: trainer of the run.
            over: whether this was the last step.
        """
        if over or trainer.global_step % self.checkpoints.every_n_steps == 0:
            self.checkpoints.save(trainer)
        received = signals.received or 0
        if trainer.world_size > 1:  # all processes agree, so that none waits for one that has left
            tensor = torch.tensor(received, device=trainer.strategy.root_device)
            received = int(trainer.strategy.reduce(tensor, reduce_op="max"))
        if received:
            self.checkpoints.save(trainer)
            self._agreed = True
            raise Stopped(received)

    def on_sanity_check_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Handle both signals from now on; Lightning has set its own handlers before."""
        signals.take_over()

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Handle both signals from now on, at the end of a step."""
        signals.take_over()
        signals.wait_for_step()

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Handle signals at once again; the last step is saved."""
        signals.wait_no_more()

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Handle both signals from now on, as in training."""
        signals.take_over()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Send the signal to the processes that this one has started."""
        launcher: Any = trainer.strategy.launcher
        if isinstance(exception, Stopped) and not self._agreed and hasattr(launcher, "kill"):
            launcher.kill(exception.signum)
