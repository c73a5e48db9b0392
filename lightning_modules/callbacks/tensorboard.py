"""TensorBoard events in the run's own folder."""

from pathlib import Path
from typing import Any

from pytorch_lightning.loggers import TensorBoardLogger
from pytorch_lightning.utilities.rank_zero import rank_zero_only
from tensorboard.compat.proto.summary_pb2 import Summary  # type: ignore[import-untyped]
from torch.utils.tensorboard.summary import hparams

from lightning_modules.run_files import read_metrics

# TensorBoard opens the first two groups of tags in alphabetical order. These should be accuracy and loss of training
# and of validation, so other metrics of a step are in a group that comes later.
TENSORBOARD_TAGS = {
    "learning_rate": "weight_update/learning_rate",
    "train/gradient_norm": "weight_update/gradient_norm",
    "train/bits_per_character": "train/loss_in_bits_per_character",
    "val/bits_per_character": "val/loss_in_bits_per_character",
}
QUEUE = 1000  # events that wait for the thread that writes them; the training never waits for it


class RunTensorBoard(TensorBoardLogger):
    """TensorBoard events in the run's own folder: curves only, no single points.

    Lightning's curve of the epoch and its hparams.yaml are left out. The metrics of the test are shown by `log_end`.

    Args:
        run: folder of the run.
        first_step: first step of a continued run. Older events from this step on are hidden. The step before it is
            hidden too and written again from metrics.csv, since a killed process may have saved it without its event.
    """

    def __init__(self, run: Path, first_step: int = 0) -> None:
        last = first_step - 1
        super().__init__(
            run.parent.parent, run.parent.name, run.name, default_hp_metric=False,
            purge_step=last if last > 0 else None, max_queue=QUEUE,
        )  # fmt: skip
        self._hidden_rows = [row for row in read_metrics(run / "metrics.csv") if row["step"] == last]

    @rank_zero_only
    def log_metrics(self, metrics: Any, step: int | None = None) -> None:
        """Log the scalars of curves; the epoch is left out, since training is counted in steps."""
        while self._hidden_rows:  # write again what `purge_step` has hidden
            row = self._hidden_rows.pop(0)
            self.log_metrics(row, int(row.pop("step")))
        curves = {
            TENSORBOARD_TAGS.get(tag, tag): value
            for tag, value in metrics.items()
            if tag != "epoch" and not tag.startswith("test/")
        }
        if curves:  # one event for all of them: an event for each, as from `add_scalar`, costs several times the time
            scalars = [Summary.Value(tag=tag, simple_value=float(value)) for tag, value in curves.items()]
            self.experiment._get_file_writer().add_summary(Summary(value=scalars), step)

    def log_end(self, settings: dict[str, Any], tags: list[str], rows: list[tuple[str, str]]) -> None:
        """Show a finished run: its settings with the last value of a curve under HParams, its table under Text.

        Args:
            settings: settings of the run, by short names.
            tags: tags of the curves.
            rows: name and value of each row of the table.
        """
        writer = self.experiment._get_file_writer()
        for summary in hparams(settings, dict.fromkeys(tags)):  # names only: with a value it would be a card of its own
            writer.add_summary(summary)
        lines = [f"| {name} | {value} |" for name, value in rows]
        self.experiment.add_text("summary", "\n".join(["| | |", "| --- | --- |", *lines]))
        self.finalize("success")

    def save(self) -> None:
        """Write out what is buffered."""
        if self._experiment is not None:
            self._experiment.flush()
