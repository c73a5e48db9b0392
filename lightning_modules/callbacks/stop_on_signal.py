"""Ctrl-C and SIGTERM end a run at a step's end, saved, so that it can go on as if nothing had happened."""

import signal
from types import FrameType
from typing import Any

import torch
from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import Callback

from lightning_modules.callbacks.checkpoints import Checkpoints

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Stopped(SystemExit):
    """A run ended by a signal, saved at `step`; the exit status is the shell's for that signal, 130 or 143."""

    def __init__(self, signum: int, step: int) -> None:
        super().__init__(128 + signum)
        self.step = step


class StopOnSignal(Callback):
    """End the run at the next step's end after SIGINT or SIGTERM, and save it. A second signal ends it at once.

    Lightning by itself breaks into a half-done step. With several processes all of them stop after the same step.

    Args:
        checkpoints: saves the run.
    """

    def __init__(self, checkpoints: Checkpoints) -> None:
        self.checkpoints = checkpoints
        self._received: int | None = None
        self._agreed: int | None = None
        self._previous: dict[int, Any] = {}

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take over both signals; this comes after Lightning has set its own handlers."""
        self._previous = {signum: signal.signal(signum, self._receive) for signum in SIGNALS}

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Save, if a signal came and the optimizer has just stepped."""
        if trainer.fit_loop.epoch_loop._should_accumulate():
            return
        received = self._received or 0
        if trainer.world_size > 1:  # collective, so that no process waits for one that has left
            received = int(trainer.strategy.reduce(torch.tensor(received, device=pl_module.device), reduce_op="max"))
        if received:
            self.checkpoints.save(trainer)
            self._agreed = received

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Leave: by now the saved step has been logged as well."""
        if self._agreed is not None:
            raise Stopped(self._agreed, trainer.global_step)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Give the signals back."""
        self._give_back()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Give the signals back."""
        self._give_back()

    def _give_back(self) -> None:
        for signum, handler in self._previous.items():
            signal.signal(signum, handler)
        self._previous = {}

    def _receive(self, signum: int, frame: FrameType | None) -> None:
        if self._received is not None:
            raise SystemExit(128 + signum)
        self._received = signum
