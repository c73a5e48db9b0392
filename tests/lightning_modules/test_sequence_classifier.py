"""The training system: loss, accuracy, gradient norm, optimiser."""

from pathlib import Path

import pytest
import torch
from pytorch_lightning import Callback, Trainer

from datamodules.toy_tasks import BinaryPalindrome
from kernels import LSTM
from lightning_modules.networks.recurrent_classifier import RecurrentClassifier
from lightning_modules.sequence_classifier import SequenceClassifier

pytestmark = [
    # Lightning's advice on workers; batches here are made faster than workers could hand them over.
    pytest.mark.filterwarnings("ignore:.*does not have many workers"),
    # Palindromes are made anew at every step and need no validation split.
    pytest.mark.filterwarnings("ignore:You defined a `validation_step`"),
    # Lightning's own use of torch's trees.
    pytest.mark.filterwarnings("ignore:.*LeafSpec"),
]


class Watch(Callback):
    """Keep what is logged, and the weights before the step."""

    def __init__(self) -> None:
        self.logged: dict[str, float] = {}

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: SequenceClassifier, batch: tuple, batch_idx: int
    ) -> None:
        tokens, self.labels = batch
        with torch.no_grad():
            self.logits = pl_module(tokens)

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: SequenceClassifier, optimizer: object) -> None:
        self.gradients = [parameter.grad.clone() for parameter in pl_module.parameters()]

    def on_train_batch_end(self, trainer: Trainer, *_: object) -> None:
        self.logged = {tag: float(value) for tag, value in trainer.callback_metrics.items()}


def test_a_step_logs_what_it_computes(tmp_path: Path) -> None:
    network = RecurrentClassifier(3, 2, hidden_size=8, embedding_size=4)
    watch = Watch()
    trainer = Trainer(
        accelerator="cpu", max_steps=1, logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, callbacks=[watch], gradient_clip_val=1e-3,
    )  # fmt: skip
    trainer.fit(SequenceClassifier(network, 0.5), BinaryPalindrome(2, batch_size=32))
    probabilities = watch.logits.softmax(1)[torch.arange(32), watch.labels]
    assert watch.logged["train/loss"] == pytest.approx(-probabilities.log().mean().item(), rel=1e-5)
    accuracy = (watch.logits.argmax(1) == watch.labels).float().mean().item()
    assert watch.logged["train/accuracy"] == pytest.approx(accuracy)
    norm = sum(gradient.pow(2).sum() for gradient in watch.gradients).sqrt().item()
    assert norm > 1e-3
    assert watch.logged["train/gradient_norm"] == pytest.approx(norm, rel=1e-4), "before clipping"
    assert watch.logged["learning_rate"] == 0.5


def test_adam() -> None:
    optimizer = SequenceClassifier(RecurrentClassifier(3, 2), 0.25).configure_optimizers()
    assert isinstance(optimizer, torch.optim.Adam)
    assert optimizer.defaults["lr"] == 0.25


def test_default_setting_is_the_studys() -> None:
    system = SequenceClassifier(RecurrentClassifier(3, 2))
    assert system.learning_rate == 1e-4
    assert system.network.embedding.embedding_dim == 64
    assert isinstance(system.network.layer, LSTM)
    assert system.network.layer.hidden_size == 256
