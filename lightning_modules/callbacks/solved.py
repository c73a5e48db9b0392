"""The step at which a task is solved: the mean training accuracy reaches a threshold."""

from collections import deque
from typing import Any

from jsonargparse.typing import ClosedUnitInterval, PositiveInt
from pytorch_lightning import LightningModule, Trainer
from torch import Tensor

from lightning_modules.callbacks.step_callback import StepCallback
from lightning_modules.callbacks.step_values import read


class Solved(StepCallback):
    """Record the step at which the mean training accuracy over a window of steps reaches a threshold.

    With several processes the accuracy of a step is the mean over them.

    Args:
        accuracy: the threshold.
        window: number of steps in the mean.
        stop: whether to end the run there; by default it makes all its steps, as in the practical of 2020.

    Attributes:
        iteration: the number of steps after which the task was solved; None before.
    """

    def __init__(self, accuracy: ClosedUnitInterval = 1.0, window: PositiveInt = 50, stop: bool = False) -> None:
        self.accuracy = accuracy
        self.window = window
        self.stop = stop
        self.iteration: int | None = None
        self._recent: deque[float] = deque(maxlen=window)
        self._unread: list[Tensor] = []  # accuracies of the last steps, on the device
        self._due = window  # how many accuracies are collected before they are read
        self._training = True

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Record whether a checkpoint loaded from now on is continued, not only tested."""
        self._training = stage == "fit"

    def on_step_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Add the accuracy of the step to the window."""
        if "train/accuracy" not in trainer.callback_metrics or self.iteration is not None:
            return
        accuracy = trainer.callback_metrics["train/accuracy"]
        if trainer.world_size > 1:  # all must stop at the same step
            accuracy = trainer.strategy.reduce(accuracy.to(pl_module.device), reduce_op="mean")
        self._unread.append(accuracy)
        if len(self._unread) >= self._due:
            self._read()
            if self._steps_to_go() == 0:
                self.iteration = trainer.global_step
                self._end(trainer)

    def _read(self) -> None:
        """Read the accuracies, which waits for the device; then count the steps until they must be read again."""
        self._recent.extend(read(self._unread))
        self._unread = []
        self._due = self._steps_to_go()

    def _steps_to_go(self) -> int:
        """Return the fewest further steps, each with accuracy 1, after which the mean reaches the threshold.

        Before that the task cannot be solved, so nothing needs to be read.
        """
        for steps in range(self.window):
            best = [*self._recent, *[1.0] * steps][-self.window :]
            if len(best) == self.window and sum(best) / self.window >= self.accuracy:
                return steps
        return self.window

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Keep a continued run from training beyond the step at which it was solved, if `stop` is set."""
        self._end(trainer)

    def _end(self, trainer: Trainer) -> None:
        """Make the step at which the task was solved the last one, if `stop` is set."""
        if self.stop and self.iteration is not None:
            # Not should_stop: it validates here and counts the epoch as complete, so a longer run would differ.
            trainer.fit_loop.epoch_loop.max_steps = self.iteration

    def state_dict(self) -> dict[str, Any]:
        """Return the state for the checkpoint."""
        self._read()
        return {"iteration": self.iteration, "recent": list(self._recent)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the state of a continued run; the test of best.ckpt, which may be older, does not change it."""
        if self._training:
            self.iteration = state_dict["iteration"]
            self._recent = deque(state_dict["recent"], maxlen=self.window)
            self._due = self._steps_to_go()
