"""metrics.csv: every logged number of a run, one row a step."""

import csv
from pathlib import Path
from typing import Any, TextIO

from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import Callback

from lightning_modules.errors import UserError


class MetricsCSV(Callback):
    """Write what was logged at each step to `metrics.csv`; each row is on the disk before a checkpoint of its step.

    Columns: step (from 0, as in TensorBoard), then the tags. A continued run drops the rows from its first step on,
    so no step stands there twice. Numbers are written so that reading them gives the same float.

    Args:
        path: the file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._columns: list[str] = []
        self._file: TextIO | None = None

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Open the file; of a continued run, keep the rows before its first step."""
        if trainer.is_global_zero:
            self._rewrite([row for row in read_metrics(self.path) if row["step"] < trainer.global_step])

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Write the row of a step."""
        if not trainer.fit_loop.epoch_loop._should_accumulate():
            self._write(trainer, lambda tag: not tag.startswith(("val/", "test/")))

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write a row for the validation split."""
        if not trainer.sanity_checking:
            self._write(trainer, lambda tag: tag.startswith("val/"))

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Close the file."""
        self._close()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Close the file."""
        self._close()

    def _write(self, trainer: Trainer, chosen: Any) -> None:
        values = {tag: float(value) for tag, value in trainer.callback_metrics.items() if chosen(tag)}
        if self._file is None or not values:
            return
        if not values.keys() <= set(self._columns):
            self._file.flush()
            self._rewrite(read_metrics(self.path), sorted(values.keys() - set(self._columns)))
        row = {"step": trainer.global_step - 1, **values}
        self._file.write(",".join(repr(row[name]) if name in row else "" for name in self._columns) + "\n")

    def _rewrite(self, rows: list[dict[str, float]], new_columns: list[str] | None = None) -> None:
        """Write the file anew with these rows, and leave it open for more."""
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
        self._file = self.path.open("a", buffering=1)  # a line at a time: a killed run loses none

    def _close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None


def read_metrics(path: Path) -> list[dict[str, float]]:
    """Return the rows of a metrics.csv, each with the columns that it fills; no rows if there is no file.

    A last line that a killed process left unfinished is dropped.

    Raises:
        UserError: if the file holds anything but numbers below names.
    """
    if not path.exists():
        return []
    rows = []
    try:
        text = path.read_text()
        for row in csv.DictReader(text[: text.rfind("\n") + 1].splitlines()):
            rows.append({name: float(value) if name != "step" else int(value) for name, value in row.items() if value})
    except (ValueError, TypeError, csv.Error) as error:
        raise UserError(f"{path} is damaged: {error}") from error
    return rows


def curve(rows: list[dict[str, float]], tag: str) -> tuple[list[int], list[float]]:
    """Return the steps and the values of one tag."""
    points = [(int(row["step"]), row[tag]) for row in rows if tag in row]
    return [step for step, _ in points], [value for _, value in points]
