"""TensorBoard events in the run's own folder."""

from pathlib import Path
from typing import Any

from pytorch_lightning.loggers import TensorBoardLogger
from torch.utils.tensorboard.summary import hparams

from lightning_modules.callbacks.metrics_csv import read_metrics

# TensorBoard opens the first two groups of tags in the alphabet. Those are to be the curves of the training and of the
# validation, accuracy and loss; so what else is logged at every step is shown in a group behind them.
TENSORBOARD_TAGS = {
    "learning_rate": "weight_update/learning_rate",
    "train/gradient_norm": "weight_update/gradient_norm",
    "train/bits_per_character": "train/loss_in_bits_per_character",
    "val/bits_per_character": "val/loss_in_bits_per_character",
}


class RunTensorBoard(TensorBoardLogger):
    """TensorBoard events in the run's own folder: the curves, and no lone dots beside them.

    Lightning's curve of the epoch and its hparams.yaml are left out. So are the test's numbers, which `log_end` tells.

    Args:
        run: the run's folder.
        first_step: where a continued run starts; older events from that step on are hidden. The step before it is
            hidden too and written again from metrics.csv, since a killed process may have saved it without its event.
    """

    def __init__(self, run: Path, first_step: int = 0) -> None:
        last = first_step - 1
        super().__init__(
            run.parent.parent, run.parent.name, run.name, default_hp_metric=False, purge_step=last if last > 0 else None
        )
        self._again = [row for row in read_metrics(run / "metrics.csv") if row["step"] == last]

    def log_metrics(self, metrics: Any, step: int | None = None) -> None:
        """Log scalars that are curves; the epoch is none, since training here is counted in steps."""
        while self._again:
            row = self._again.pop(0)
            self.log_metrics(row, int(row.pop("step")))
        curves = {
            TENSORBOARD_TAGS.get(tag, tag): value
            for tag, value in metrics.items()
            if tag != "epoch" and not tag.startswith("test/")
        }
        super().log_metrics(curves, step)

    def log_end(self, settings: dict[str, Any], tags: list[str], rows: list[tuple[str, str]]) -> None:
        """Show a finished run: in HParams its settings beside the last value of a curve, under Text its closing table.

        Args:
            settings: what the run was made with, by short names.
            tags: of the curve, or of several.
            rows: name and value of each row of the table.
        """
        writer = self.experiment._get_file_writer()
        for summary in hparams(settings, dict.fromkeys(tags)):  # names alone: a value would be a card of its own
            writer.add_summary(summary)
        lines = [f"| {name} | {value} |" for name, value in rows]
        self.experiment.add_text("summary", "\n".join(["| | |", "| --- | --- |", *lines]))
        self.finalize("success")

    def save(self) -> None:
        """Write out what is buffered."""
        if self._experiment is not None:
            self._experiment.flush()
