"""curves.png: loss and primary metric against the iteration, drawn from metrics.csv."""

from pathlib import Path

import numpy as np
from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import Callback

from lightning_modules.run_files import curve, read_metrics

COLOURS = {"train": "#1f77b4", "val": "#d62728"}


class Curves(Callback):
    """Draw `curves.png` at the end of a run, and when it is stopped.

    Args:
        run: the run's folder, which holds metrics.csv.
    """

    def __init__(self, run: Path) -> None:
        self.run = run

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Draw the whole run."""
        if trainer.is_global_zero:
            draw_curves(self.run, getattr(pl_module, "primary_metric", "accuracy"))

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Draw the steps so far, if the run was stopped."""
        if trainer.is_global_zero and isinstance(exception, SystemExit):
            draw_curves(self.run, getattr(pl_module, "primary_metric", "accuracy"))


def draw_curves(run: Path, primary_metric: str) -> None:
    """Draw loss and primary metric: training by step (pale) and as a running mean (strong), and validation."""
    from matplotlib.figure import Figure  # slow to import, and needed only at the end

    rows = read_metrics(run / "metrics.csv")
    logged = {tag for row in rows for tag in row}
    quantities = [name for name in dict.fromkeys(("loss", primary_metric)) if f"train/{name}" in logged]
    if not quantities:
        return
    figure = Figure(figsize=(5.5 * len(quantities), 3.6), layout="constrained")
    for axes, quantity in zip(figure.subplots(1, len(quantities), squeeze=False)[0], quantities, strict=True):
        for split, colour in COLOURS.items():
            steps, values = curve(rows, f"{split}/{quantity}")
            if split == "train":
                axes.plot(steps, values, color=colour, alpha=0.25, linewidth=0.8)
                window = max(1, min(50, len(values) // 10))
                smooth = np.convolve(values, np.full(window, 1 / window), mode="valid")
                label = f"train, mean of {window}" if window > 1 else "train"
                axes.plot(steps[window - 1 :], smooth, color=colour, linewidth=1.6, label=label)
            elif values:
                axes.plot(steps, values, color=colour, marker=".", label="validation")
        axes.set(xlabel="iteration", ylabel=quantity)
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.grid(alpha=0.3)
        axes.legend(frameon=False)
    figure.suptitle(f"{run.parent.name} · {run.name}")
    figure.savefig(run / "curves.png", dpi=120)
