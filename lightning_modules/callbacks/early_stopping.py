"""Keeps a run that Lightning's EarlyStopping has ended from training on when it is continued."""

from typing import Any

from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import Callback, EarlyStopping
from pytorch_lightning.callbacks.early_stopping import EarlyStoppingReason


class StayStopped(Callback):
    """End a continued run at once if EarlyStopping had ended it. Lightning would train on until the next validation."""

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stop if a restored EarlyStopping has stopped the run."""
        if any(
            each.stopping_reason != EarlyStoppingReason.NOT_STOPPED
            for each in trainer.callbacks  # type: ignore[attr-defined]
            if isinstance(each, EarlyStopping)
        ):
            trainer.should_stop = True


def stopped_early(checkpoint: dict[str, Any], callbacks: list[Callback]) -> bool:
    """Return whether one of the callbacks is an EarlyStopping that had ended the run of a checkpoint."""
    states = [checkpoint["callbacks"].get(each.state_key) for each in callbacks if isinstance(each, EarlyStopping)]
    return any(isinstance(state, dict) and state.get("stopping_reason") for state in states)
