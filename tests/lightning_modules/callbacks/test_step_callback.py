"""One call for each optimizer step, however many batches it has."""

from pathlib import Path

import pytest
from pytorch_lightning import LightningModule, Trainer

from datamodules.toy_tasks import BinaryPalindrome
from lightning_modules.callbacks.step_callback import StepCallback
from lightning_modules.cli.quiet import quiet
from lightning_modules.networks.recurrent_classifier import RecurrentClassifier
from lightning_modules.sequence_classifier import SequenceClassifier


class Counter(StepCallback):
    def __init__(self) -> None:
        self.steps: list[int] = []

    def on_step_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        assert "train/loss" in trainer.callback_metrics
        self.steps.append(trainer.global_step)


@pytest.mark.parametrize("batches", [1, 3])
def test_once_for_each_step(batches: int, tmp_path: Path) -> None:
    quiet()
    counter = Counter()
    trainer = Trainer(
        max_steps=4, accumulate_grad_batches=batches, accelerator="cpu", logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, callbacks=[counter], default_root_dir=tmp_path,
    )  # fmt: skip
    trainer.fit(SequenceClassifier(RecurrentClassifier(3, 2, hidden_size=4)), BinaryPalindrome(2, batch_size=4))
    assert counter.steps == [1, 2, 3, 4]
