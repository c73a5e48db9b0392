"""What torch, numpy and Lightning raise for a setting becomes one line; a bug of ours stays a traceback."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pytorch_lightning.utilities.exceptions import MisconfigurationException

from lightning_modules.cli.foreign_errors import memory_errors
from lightning_modules.errors import UserError

Train = Callable[..., tuple[int, str, str]]
SETTINGS = {"seed_everything": 10**9, "model": {"init_args": {"hidden_size": 7}}, "data": {"init_args": {"length": 90}}}


@pytest.mark.parametrize(
    "allocate",
    [
        lambda: torch.empty(2**46),
        lambda: torch.empty(2**40, 2**40),
        lambda: np.empty(2**46),
        lambda: np.empty((2**40, 2**40)),
        lambda: np.empty(2**65),
    ],
)
def test_what_no_memory_holds_names_the_largest_settings(allocate: Callable[[], Any]) -> None:
    with pytest.raises(UserError) as refused, memory_errors(SETTINGS):
        allocate()
    assert str(refused.value) == "there is not enough memory; make data.length (90) or model.hidden_size (7) smaller"


@pytest.mark.parametrize("error", [RuntimeError("shapes cannot be multiplied"), ValueError("bad"), KeyError("memory")])
def test_other_errors_stay(error: Exception) -> None:
    with pytest.raises(type(error)) as raised, memory_errors(SETTINGS):
        raise error
    assert raised.value is error


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--data.length", "1000000000000"], "not enough memory; make data.length (1000000000000)"),
        (["--model.network.hidden_size", "1000000000"], "make model.network.hidden_size (1000000000) or"),
        (["--model.network.embedding_size", "1" + "0" * 15], "make model.network.embedding_size"),
    ],
)
def test_sizes_for_which_there_is_no_memory(train: Train, words: list[str], message: str) -> None:
    status, _, err = train("--trainer.max_steps", "2", *words)
    assert (status, err.count("\n")) == (2, 1), err
    assert message in err
    assert not Path("runs").exists()


def test_early_stopping_on_an_unknown_metric_names_those_there_are(train: Train) -> None:
    callback = ["--trainer.callbacks", "pytorch_lightning.callbacks.EarlyStopping"]
    words = [*callback, "--trainer.callbacks.monitor", "val/nosuch", "--config", "karate_gcn.yaml"]
    status, _, err = train(*words, "--trainer.accelerator", "cpu", small=False)
    assert (status, err.count("\n")) == (1, 1), err
    assert "metric val/nosuch which is not available" in err
    assert "val/loss" in err


KARATE = ("--config", "karate_gcn.yaml", "--trainer.accelerator", "cpu", "--trainer.max_epochs", "1")


@pytest.mark.parametrize(
    ("words", "status", "message"),
    [
        (("--trainer.limit_train_batches", "0.5"), 2, "0.5 * 1 < 1. Please increase the `limit_train_batches` arg"),
        (("--trainer.limit_val_batches", "1e-9"), 2, "Please increase the `limit_val_batches` argument"),
        (("--trainer.limit_test_batches", "1e-9"), 1, "Please increase the `limit_test_batches` argument"),
        (("--trainer.val_check_interval", "7"), 2, "trainer: `val_check_interval` (7) must be less than or equal to"),
    ],
)
def test_limits_that_leave_no_batch(train: Train, words: tuple[str, ...], status: int, message: str) -> None:
    found, _, err = train(*KARATE, *words, small=False)
    assert (found, err.count("\n")) == (status, 1), err
    assert message in err


@pytest.mark.parametrize("error", [MisconfigurationException("a bug"), ValueError("a bug"), RuntimeError("a bug")])
def test_a_bug_in_a_step_is_a_traceback(train: Train, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def broken(*_: Any) -> None:
        raise error

    monkeypatch.setattr("lightning_modules.sequence_classifier.SequenceClassifier.training_step", broken)
    with pytest.raises(type(error), match="a bug"):
        train("--trainer.max_steps", "2")
    assert not Path("runs/palindrome_lstm/version_0/summary.json").exists()
