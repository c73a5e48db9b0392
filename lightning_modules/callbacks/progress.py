"""Progress of a training: a bar of steps in a terminal, otherwise a line at intervals."""

import time
from typing import Any

from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import ProgressBar
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from lightning_modules.callbacks.step_callback import StepCallback


class StepProgress(StepCallback, ProgressBar):
    """Show the number of optimizer steps, the metrics logged with `prog_bar=True`, and steps per second.

    Lightning's own bars count the batches of an epoch, which has no end where each batch is generated.

    Args:
        refresh_seconds: time between two updates of the bar.
        line_seconds: time between two lines where there is no terminal.
    """

    def __init__(self, refresh_seconds: float = 0.2, line_seconds: float = 10.0) -> None:
        super().__init__()
        self.console = Console()
        self.period = refresh_seconds if self.console.is_terminal else line_seconds
        self._bar: Progress | None = None
        self._enabled = True
        self._start = self._shown = 0.0
        self._shown_step: int | None = None
        self._first_step = 0
        self._total: int | None = None

    def disable(self) -> None:
        """Show nothing; Lightning calls it in every process but the first."""
        self._enabled = False

    def enable(self) -> None:
        """Show again."""
        self._enabled = True

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock and, in a terminal, the bar."""
        self._start = self._shown = time.monotonic()
        self._first_step = trainer.global_step
        self._total = _total_steps(trainer)  # computed once: the callback Solved may lower it later
        if self._enabled and self.console.is_terminal:
            self._bar = Progress(
                TextColumn("step"),
                MofNCompleteColumn(),
                BarColumn(),
                TimeRemainingColumn(),
                TextColumn("{task.fields[shown]}"),
                console=self.console,
            )
            self._bar.add_task("", total=self._total, completed=trainer.global_step, shown="")
            self._bar.start()

    def on_step_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Update the bar or print a line, if the period has passed."""
        if self._enabled and time.monotonic() - self._shown >= self.period:
            self._show(trainer)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Show the last step, unless it is shown already."""
        if self._enabled and trainer.global_step != self._shown_step:
            self._show(trainer)
        self._stop()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Restore the terminal."""
        self._stop()

    def print(self, *args: Any, **kwargs: Any) -> None:
        """Print above the bar."""
        self.console.print(*args, **kwargs)

    def _show(self, trainer: Trainer) -> None:
        self._shown = time.monotonic()
        self._shown_step = step = trainer.global_step
        pace = (step - self._first_step) / max(self._shown - self._start, 1e-9)
        metrics = "  ".join(f"{tag} {float(value):.4f}" for tag, value in trainer.progress_bar_metrics.items())
        shown = f"{metrics}  {pace:.1f} steps/s"
        if self._bar is not None:
            self._bar.update(self._bar.task_ids[0], completed=step, shown=shown)
        else:
            print(f"step {step}{f'/{self._total}' if self._total else ''}  {shown}", flush=True)

    def _stop(self) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None


def _total_steps(trainer: Trainer) -> int | None:
    """Return the number of steps of the run, None if only a time limit or a callback ends it."""
    steps = trainer.estimated_stepping_batches
    return int(steps) if 0 < steps < float("inf") else None
