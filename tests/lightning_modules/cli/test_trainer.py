"""Restoring a checkpoint: what does not fit is one line, a bug stays a traceback."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

Train = Callable[..., tuple[int, str, str]]
LAST = Path("runs/palindrome_lstm/version_0/last.ckpt")


def test_states_of_another_type_are_one_line(train: Train) -> None:
    assert train("--trainer.max_steps", "2")[0] == 0
    checkpoint = torch.load(LAST, weights_only=True)
    torch.save(checkpoint | {"callbacks": {"Solved": 3}}, "changed.ckpt")
    status, _, err = train("--trainer.max_steps", "4", "--ckpt_path", "changed.ckpt")
    assert (status, err.count("\n")) == (2, 1), err
    assert "changed.ckpt cannot be continued: its states do not fit (TypeError(" in err
    assert [path.name for path in LAST.parent.parent.iterdir()] == ["version_0"]


def test_a_bug_in_a_continued_run_is_a_traceback(train: Train, monkeypatch: pytest.MonkeyPatch) -> None:
    assert train("--trainer.max_steps", "2")[0] == 0

    def broken(*_: Any) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr("lightning_modules.sequence_classifier.SequenceClassifier.configure_optimizers", broken)
    with pytest.raises(RuntimeError, match="a bug"):
        train("--trainer.max_steps", "4", "--ckpt_path", str(LAST))
