"""Lightning's training loops with one place, between two steps, where a run can be saved and continued exactly."""

from collections.abc import Callable

from pytorch_lightning import Trainer
from pytorch_lightning.loops.fetchers import _DataFetcher
from pytorch_lightning.loops.fit_loop import _FitLoop
from pytorch_lightning.loops.training_epoch_loop import _TrainingEpochLoop

from lightning_modules.cli.foreign_errors import checked_limits

StepDone = Callable[[Trainer, bool], None]


class StepLoop(_TrainingEpochLoop):
    """The loop over the batches of an epoch.

    Lightning saves in the middle of a step. When it continues, it guesses from its counters what was left to do. It may
    validate twice or not at all, or count a step or an epoch too many. Here a run is saved only after a complete step.

    Args:
        loop: the loop that this one replaces.
        step_done: called after each optimizer step, when it is validated, logged and counted. Its second argument is
            whether the training is over. After the last batch of an epoch, `RunLoop` calls it instead.
    """

    def __init__(self, loop: _TrainingEpochLoop, step_done: StepDone) -> None:
        super().__init__(loop.trainer, loop.min_steps, loop.max_steps)
        self._step_done = step_done

    @property
    def done(self) -> bool:
        """Whether to leave the epoch. Never between two parts of an optimizer step, since gradients are not saved."""
        return super().done and not self._should_accumulate()

    @property
    def _is_validation_done(self) -> bool:
        return True  # Lightning asks when it restarts; here no checkpoint is from before a step's validation

    def reset(self) -> None:
        """Start from the counters of a checkpoint, or start an epoch."""
        super().reset()
        if self.restarting and self.trainer.lightning_module.automatic_optimization:
            self._batches_that_stepped = self.global_step  # Lightning's own value is wrong by one for best.ckpt

    def advance(self, data_fetcher: _DataFetcher) -> None:
        """Train on a batch."""
        self._restarting = False  # a checkpoint is never from the middle of a step
        super().advance(data_fetcher)

    def on_advance_end(self, data_fetcher: _DataFetcher) -> None:
        """Validate, if it is due; then the step is done."""
        super().on_advance_end(data_fetcher)
        if not self._should_accumulate() and not self._num_ready_batches_reached():
            self._step_done(self.trainer, self.done)


class RunLoop(_FitLoop):
    """The loop over epochs.

    Args:
        loop: the loop that this one replaces.
        step_done: see `StepLoop`.

    Attributes:
        started: whether all states have been restored and the remaining training, if any, begins.
    """

    def __init__(self, loop: _FitLoop, step_done: StepDone) -> None:
        super().__init__(loop.trainer, loop.min_epochs, loop.max_epochs)
        self.epoch_loop = StepLoop(loop.epoch_loop, step_done)
        validation = self.epoch_loop.val_loop
        validation.setup_data = checked_limits(validation.setup_data)  # type: ignore[method-assign]
        self.started = False
        self._step_done = step_done

    def setup_data(self) -> None:
        """Ask the data module for batches, and compare the trainer's limits with their number."""
        checked_limits(super().setup_data)()

    def run(self) -> None:
        """Train."""
        self.started = True
        super().run()

    def on_advance_end(self) -> None:
        """Count the epoch; then its last step is done."""
        super().on_advance_end()
        # Saved as "no batch of the next epoch": from "all batches of this epoch" Lightning would count one epoch more.
        self.epoch_loop.batch_progress.reset_on_run()
        self.epoch_loop.scheduler_progress.reset_on_run()
        self.epoch_loop.automatic_optimization.optim_progress.reset_on_run()
        self._step_done(self.trainer, self.done)
