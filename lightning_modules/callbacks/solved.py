"""When a task is solved: the first iteration by which the last batches were all named right."""

from collections import deque
from typing import Any

from jsonargparse.typing import ClosedUnitInterval, PositiveInt
from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import Callback


class Solved(Callback):
    """Note the iteration at which the mean training accuracy over a window of steps reaches a bar.

    Args:
        accuracy: the bar.
        window: number of steps in the mean.
        stop: end the run there. Off, since the study counts all its iterations.

    With several processes it is the mean accuracy of them all that counts.
    """

    def __init__(self, accuracy: ClosedUnitInterval = 1.0, window: PositiveInt = 50, stop: bool = False) -> None:
        self.accuracy = accuracy
        self.window = window
        self.stop = stop
        self.iteration: int | None = None
        self._recent: deque[float] = deque(maxlen=window)
        self._training = True

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Note whether a checkpoint that is loaded now is one to go on from."""
        self._training = stage == "fit"

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Look at the accuracy of the step."""
        if trainer.fit_loop.epoch_loop._should_accumulate():
            return
        if "train/accuracy" not in trainer.callback_metrics or self.iteration is not None:
            return
        accuracy = trainer.callback_metrics["train/accuracy"]
        if trainer.world_size > 1:  # all must stop at the same step
            accuracy = trainer.strategy.reduce(accuracy.to(pl_module.device), reduce_op="mean")
        self._recent.append(float(accuracy))
        if len(self._recent) == self.window and sum(self._recent) / self.window >= self.accuracy:
            self.iteration = trainer.global_step
            self._end(trainer)

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Train a continued run no further than its solution, if it is to stop there."""
        self._end(trainer)

    def _end(self, trainer: Trainer) -> None:
        """Make a solved run's step its last one, if it is to stop."""
        if self.stop and self.iteration is not None:
            # Not should_stop: that validates here and counts the epoch as whole, which a longer run does not.
            trainer.fit_loop.epoch_loop.max_steps = self.iteration

    def state_dict(self) -> dict[str, Any]:
        """Return what a continued run must know."""
        return {"iteration": self.iteration, "recent": list(self._recent)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from a saved state; the test of best.ckpt, which may be older, changes nothing."""
        if self._training:
            self.iteration = state_dict["iteration"]
            self._recent = deque(state_dict["recent"], maxlen=self.window)
