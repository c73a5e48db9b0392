"""metrics.csv: every logged number of a run, one row for each step."""

import csv
import hashlib
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple, TextIO

from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.loggers import Logger
from torch import Tensor

from lightning_modules.callbacks.step_callback import StepCallback
from lightning_modules.callbacks.step_values import read
from lightning_modules.errors import UserError
from lightning_modules.run_files import read_metrics

HELD_OUT = ("val/", "test/")


class Step(NamedTuple):
    """What was logged at a step: number of the step, epoch, values by tag, and the tags that go to the loggers."""

    step: int
    epoch: int
    values: dict[str, Tensor]
    logged: tuple[str, ...]


class MetricsCSV(StepCallback):
    """Write what was logged at each step to `metrics.csv` and to the loggers, such as TensorBoard.

    Columns: step (from 0, as in TensorBoard), then the tags. A number read from the file is the same float. A
    checkpoint holds the number of rows and their hash. A continued run keeps these rows and removes later ones, so no
    step is in the file twice.

    Values stay on the device for `PERIOD` seconds, so that training does not wait for them. They are written before a
    validation, a checkpoint, and the end of a run, whatever ends it but SIGKILL.

    Args:
        path: the file.
    """

    PERIOD = 0.25

    def __init__(self, path: Path) -> None:
        self.path = path
        self._columns: list[str] = []
        self._file: TextIO | None = None
        self._kept: int | None = None  # rows that a continued run finds before its first step
        self._rows = 0
        self._hash = hashlib.sha256()
        self._steps: list[Step] = []  # not written yet
        self._written = 0.0
        self._loggers: list[Logger] = []

    def state_dict(self) -> dict[str, Any]:
        """Return the number of rows and their hash, for the checkpoint; write all rows first."""
        self._write()
        return {"rows": self._rows, "sha256": self._hash.hexdigest()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the number of rows to keep."""
        self._kept = state_dict["rows"]

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Open the file; of a continued run, keep the rows before its first step."""
        if hasattr(pl_module, "values_are_read"):
            pl_module.values_are_read = True  # type: ignore[assignment]
        if trainer.is_global_zero:
            rows = read_metrics(self.path)
            if self._kept is None:  # a checkpoint without this state
                rows = [row for row in rows if row["step"] < trainer.global_step]
            rows = rows[: self._kept]
            self._rows, self._hash = len(rows), _hash(rows)
            self._rewrite(rows)
            self._loggers = trainer.loggers

    def on_step_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Keep the values of a step, and write those of all steps if the period has passed."""
        if self._file is None:
            return
        values = {tag: value for tag, value in trainer.callback_metrics.items() if not tag.startswith(HELD_OUT)}
        every = trainer.log_every_n_steps  # type: ignore[attr-defined]
        logged = every > 0 and (trainer.global_step % every == 0 or trainer.should_stop)
        # What was logged by Lightning's `log`, it writes to the loggers itself.
        own = tuple(getattr(pl_module, "step_values", {})) if logged else ()
        self._steps.append(Step(trainer.global_step - 1, trainer.current_epoch, values, own))
        if time.monotonic() - self._written >= self.PERIOD:
            self._write()

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the steps before the validation, so that its row comes after them."""
        self._write()

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write a row for the validation split."""
        if not trainer.sanity_checking and self._file is not None:
            values = {tag: value for tag, value in trainer.callback_metrics.items() if tag.startswith("val/")}
            self._steps.append(Step(trainer.global_step - 1, trainer.current_epoch, values, ()))
            self._write()

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the last steps and close the file."""
        self._end(pl_module)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Write the last steps and close the file."""
        self._end(pl_module)

    def _end(self, pl_module: LightningModule) -> None:
        if hasattr(pl_module, "values_are_read"):
            pl_module.values_are_read = False  # type: ignore[assignment]  # another trainer may have no such callback
        try:
            self._write()
        finally:  # after a failure of the device nothing can be read
            self._close()

    def _write(self) -> None:
        """Write the rows of all steps that are kept."""
        self._written = time.monotonic()
        steps, self._steps = self._steps, []
        if not steps or self._file is None:
            return
        numbers = iter(read(value for step in steps for value in step.values.values()))
        for step in steps:
            values = {tag: next(numbers) for tag in step.values}
            self._write_row(step.step, values)
            if step.logged:
                logged = {tag: values[tag] for tag in step.logged}
                for logger in self._loggers:
                    logger.log_metrics({**logged, "epoch": step.epoch}, step.step)
        self._file.flush()  # a killed run loses no row that was written
        for logger in self._loggers:
            logger.save()

    def _write_row(self, step: int, values: dict[str, float]) -> None:
        if self._file is None or not values:
            return
        if not values.keys() <= set(self._columns):
            self._file.flush()
            self._rewrite(read_metrics(self.path), sorted(values.keys() - set(self._columns)))
        row = {"step": step, **values}
        self._rows += 1
        self._hash.update(_content(row))
        self._file.write(",".join(repr(row[name]) if name in row else "" for name in self._columns) + "\n")

    def _rewrite(self, rows: list[dict[str, float]], new_columns: list[str] | None = None) -> None:
        """Replace the file by one with these rows, and leave it open for more."""
        self._close()
        columns = list(dict.fromkeys(name for row in rows for name in row)) or ["step"]
        self._columns = columns + (new_columns or [])
        beside = self.path.with_name(f".{self.path.name}.tmp")
        try:
            with beside.open("w", newline="") as file:
                writer = csv.DictWriter(file, self._columns, lineterminator="\n")
                writer.writeheader()
                writer.writerows({name: repr(value) for name, value in row.items()} for row in rows)
            beside.replace(self.path)
        finally:
            beside.unlink(missing_ok=True)
        self._file = self.path.open("a")

    def _close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None


def check_rows(path: Path, checkpoint: dict[str, Any], name: Path) -> None:
    """Check that a metrics.csv still has the rows of a checkpoint.

    Args:
        path: the file.
        checkpoint: the content of the checkpoint.
        name: where the checkpoint is.

    Raises:
        UserError: if rows are missing, or are others.
    """
    states = checkpoint.get("callbacks")
    state = states.get("MetricsCSV") if isinstance(states, dict) else None
    if not isinstance(state, dict):
        return
    rows, known = read_metrics(path), int(state["rows"])
    if _hash(rows[:known]).hexdigest() != state["sha256"]:
        found = f"has {len(rows)} of them" if len(rows) < known else "has others"
        raise UserError(
            f"{name} continues a {path.name} of {known} rows, and {path} {found}; put the file back, or give "
            f"--ckpt_path {name} to go on in a folder of its own"
        )


def _hash(rows: Iterable[dict[str, float]]) -> Any:
    """Return the hash of rows, whatever the columns of the file are."""
    result = hashlib.sha256()
    for row in rows:
        result.update(_content(row))
    return result


def _content(row: dict[str, float]) -> bytes:
    return repr(sorted(row.items())).encode()
