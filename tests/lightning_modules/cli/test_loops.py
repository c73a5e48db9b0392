"""A run killed at any checkpoint goes on exactly: with validation on the step, at an epoch's end, inside an epoch."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from lightning_modules.callbacks.checkpoints import Checkpoints

Train = Callable[..., tuple[int, str, str]]
BOOK = ["--config", "book_lstm.yaml", "--data.path", "text.txt", "--data.book", "null", "--data.batch_size", "3"]
BOOK += ["--data.length", "7", "--model.network.hidden_size", "6", "--model.network.embedding_size", "4"]
BOOK += ["--model.network.dropout", "0.3", "--model.samples", "false"]
KARATE = ["--config", "karate_gcn.yaml"]
# Four batches an epoch.
SAMPLED = [*KARATE, "--model.network", "lightning_modules.networks.graph_sage.GraphSAGE"]
SAMPLED += ["--data.num_neighbors", "[2, 2]", "--data.batch_size", "1", "--checkpoints.every_n_steps", "1"]


def kept(run: Path) -> tuple[Any, ...]:
    """What an unbroken run and a continued one have in common: rows, weights, counts, generators, and the summary."""
    saved = torch.load(run / "last.ckpt", weights_only=True)
    facts = json.loads((run / "summary.json").read_text())
    del facts["steps_per_second"], facts["cpu_seconds"]
    weights = {name: weight.tolist() for name, weight in saved["state_dict"].items()}
    generators = {name: str(state.tolist()) for name, state in saved["rng_states"].items()}  # NaN stands for none
    loops = {name: count for name, count in saved["loops"]["fit_loop"].items() if "val_loop" not in name}
    return (run / "metrics.csv").read_text(), facts, saved["epoch"], weights, generators, loops


RUNS = {
    "book": [
        *BOOK,
        "--trainer.max_steps",
        "24",
        "--trainer.val_check_interval",
        "5",
        "--checkpoints.every_n_steps",
        "10",
    ],
    "epochs": [*KARATE, "--trainer.max_epochs", "12", "--checkpoints.every_n_steps", "4"],
    "steps inside an epoch": [*SAMPLED, "--trainer.max_steps", "10", "--trainer.check_val_every_n_epoch", "2"],
    "limited": [*SAMPLED, "--trainer.max_epochs", "3", "--trainer.limit_train_batches", "3"],
}  # fmt: skip
MORE_RUNS = {
    "book, accumulated": [*BOOK, "--trainer.max_steps", "8", "--trainer.val_check_interval", "4",
                          "--checkpoints.every_n_steps", "2", "--trainer.accumulate_grad_batches", "3"],
    "steps": [*KARATE, "--trainer.max_steps", "12", "--checkpoints.every_n_steps", "4"],
    "validated now and then": [*KARATE, "--trainer.max_epochs", "12", "--checkpoints.every_n_steps", "1",
                               "--trainer.check_val_every_n_epoch", "3"],
    "epochs of batches": [*SAMPLED, "--trainer.max_epochs", "3"],
    "accumulated": [*SAMPLED, "--trainer.max_epochs", "3", "--trainer.accumulate_grad_batches", "3"],
    "validated inside an epoch": [*SAMPLED, "--trainer.max_epochs", "2", "--trainer.val_check_interval", "2"],
}  # fmt: skip


@pytest.mark.parametrize(
    "words",
    [*RUNS.values(), *(pytest.param(words, marks=pytest.mark.slow) for words in MORE_RUNS.values())],
    ids=[*RUNS, *MORE_RUNS],
)
def test_a_run_killed_at_any_checkpoint_goes_on_exactly(
    words: list[str], train: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("text.txt").write_text("".join(chr(97 + (k * k * 7 + k // 3) % 11) for k in range(900)))
    save, folders = Checkpoints.save, []

    def save_and_copy(self: Checkpoints, trainer: Any) -> None:
        if trainer.global_step == self.saved_step:
            return
        for moment in ("before", "after"):  # a run that is killed leaves what lies there now
            if moment == "after":
                save(self, trainer)
            if (run / "last.ckpt").exists():
                folders.append(Path(shutil.copytree(run, f"killed/{trainer.global_step} {moment}")))

    run = Path("runs") / Path(words[1]).stem / "version_0"
    with monkeypatch.context() as patch:
        patch.setattr(Checkpoints, "save", save_and_copy)
        status, _, err = train(*words, small=False)
        assert (status, err) == (0, "")
    unbroken = kept(run)
    assert len(folders) >= 5
    for folder in (folders[0], folders[len(folders) // 2], folders[-2], folders[-1]):
        shutil.rmtree(run)
        shutil.copytree(folder, run)
        status, _, err = train(*words, "--ckpt_path", "last", small=False)
        assert (status, err) == (0, "")
        for ours, theirs in zip(kept(run), unbroken, strict=True):
            assert ours == theirs, folder
