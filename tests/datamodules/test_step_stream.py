"""The stream of batches: a pure function of (seed, rank, step), and exact when a run is continued."""

import copy
from collections.abc import Iterator
from itertools import islice, product
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from torch import Tensor

from datamodules.step_stream import EpochStreamDataModule, StepStreamDataModule, step_generator

pytestmark = [
    # Lightning's advice on workers; batches here are made faster than workers could hand them over.
    pytest.mark.filterwarnings("ignore:.*does not have many workers"),
    # Right for loaders that start anew; the stream goes on where the count of batches stands, as is tested here.
    pytest.mark.filterwarnings("ignore:You're resuming from a checkpoint that ended before the epoch ended"),
    # Lightning's own use of torch's trees.
    pytest.mark.filterwarnings("ignore:.*LeafSpec"),
]


class Numbers(StepStreamDataModule):
    def make_batch(self, generator: np.random.Generator) -> Tensor:
        return torch.from_numpy(generator.integers(2**62, size=self.batch_size))


class Letters(EpochStreamDataModule):
    def count(self, split: str) -> int:
        return {"train": 11, "val": 5, "test": 4}[split]

    def examples(self, split: str, chosen: Tensor) -> list[str]:
        return [f"{split} {number}" for number in chosen.tolist()]


def draws(seed: int, rank: int, step: int) -> bytes:
    return step_generator(seed, rank, step).bytes(64)


def test_a_batch_depends_on_seed_rank_and_step_alone() -> None:
    assert draws(42, 0, 7) == draws(42, 0, 7)


def test_no_two_of_seed_rank_and_step_share_a_batch() -> None:
    """Seeds 40, 42, 44 with added steps would share nearly all of them."""
    keys = list(product((0, 1, 40, 42, 44), (0, 1, 2), range(300)))
    assert len({draws(*key) for key in keys}) == len(keys)


def test_stream_yields_the_steps_in_order() -> None:
    data = Numbers(batch_size=4, seed=3)
    for step, batch in enumerate(islice(data.train_dataloader(), 5)):
        torch.testing.assert_close(batch, data.make_batch(step_generator(3, 0, step)))


@pytest.mark.parametrize(("ranks", "size"), [(1, 2), (2, 2), (2, 1), (3, 2), (11, 1)])
def test_an_epoch_has_every_example_once(ranks: int, size: int) -> None:
    data = Letters(batch_size=size, seed=3)
    data.trainer = SimpleNamespace(world_size=ranks)
    orders = []
    for epoch in range(2):
        steps = range(epoch * data.steps_per_epoch, (epoch + 1) * data.steps_per_epoch)
        batches = [data.batch_of_step(step, rank) for step in steps for rank in range(ranks)]
        assert {len(batch) for batch in batches} <= {1, 2}
        orders.append([example for batch in batches for example in batch])
        assert sorted(orders[-1]) == sorted(f"train {number}" for number in range(11))
    assert orders[0] != orders[1]
    data.batch_size = 2
    assert list(data.val_dataloader()) == [["val 0", "val 1"], ["val 2", "val 3"], ["val 4"]]
    assert len(data.test_dataloader()) == 2


def test_ranks_draw_different_data() -> None:
    data = Numbers(batch_size=4, seed=3)
    progress = SimpleNamespace(batch_progress=SimpleNamespace(total=SimpleNamespace(processed=2)))
    strategy = SimpleNamespace(root_device=torch.device("cpu"))
    data.trainer = SimpleNamespace(global_rank=1, fit_loop=SimpleNamespace(epoch_loop=progress), strategy=strategy)
    first = next(iter(data.train_dataloader()))
    torch.testing.assert_close(first, data.make_batch(step_generator(3, 1, 2)))


def test_a_stream_must_say_how_a_batch_is_drawn() -> None:
    with pytest.raises(TypeError, match="make_batch"):
        StepStreamDataModule()  # type: ignore[abstract]


def test_iterating_leaves_torchs_generator_alone() -> None:
    before = torch.get_rng_state()
    next(iter(Numbers().train_dataloader()))
    assert torch.equal(torch.get_rng_state(), before)


class Recorder(LightningModule):
    """Trains one weight and keeps the first number of every batch it sees."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.seen: list[int] = []

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        self.seen.append(int(batch[0]))
        return self.weight * 0

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


class SaveAt(Callback):
    """Save at the end of one batch, as the project's checkpoints are saved."""

    def __init__(self, batch: int, path: Path) -> None:
        self.batch, self.path = batch, path

    def on_train_batch_end(self, trainer: Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        if trainer.fit_loop.epoch_loop.batch_progress.total.ready == self.batch:
            trainer.save_checkpoint(self.path)


def train(limits: dict[str, Any], callbacks: list[Callback], ckpt_path: Path | None = None) -> list[int]:
    trainer = Trainer(
        accelerator="cpu", logger=False, enable_progress_bar=False, enable_model_summary=False,
        enable_checkpointing=False, callbacks=copy.copy(callbacks), **limits,
    )  # fmt: skip
    model = Recorder()
    trainer.fit(model, Numbers(batch_size=1, seed=5), ckpt_path=ckpt_path, weights_only=True)
    return model.seen


def stream(length: int) -> list[int]:
    batches: Iterator[Tensor] = islice(Numbers(batch_size=1, seed=5).train_dataloader(), length)
    return [int(batch[0]) for batch in batches]


@pytest.mark.parametrize(
    "limits",
    [
        {"max_steps": 9},
        {"max_steps": 9, "limit_train_batches": 3},
        {"max_steps": 5, "accumulate_grad_batches": 2},
        {"max_steps": 6, "accumulate_grad_batches": 2, "limit_train_batches": 3},
    ],
    ids=["one endless epoch", "several epochs", "accumulated gradients", "accumulated gradients, several epochs"],
)
@pytest.mark.parametrize("stop", [1, 2, 3, 4, 6])
def test_a_continued_run_sees_what_an_unbroken_one_sees(limits: dict[str, Any], stop: int, tmp_path: Path) -> None:
    first, second = tmp_path / "first.ckpt", tmp_path / "second.ckpt"
    unbroken = train(limits, [SaveAt(stop, first)])
    assert unbroken == stream(len(unbroken)), "no batch is skipped or repeated, epochs included"
    assert train(limits, [SaveAt(stop + 1, second)], first) == unbroken[stop:]
    assert train(limits, [], second) == unbroken[stop + 1 :], "continued twice"


@pytest.mark.parametrize("stop", [1, 2, 4, 5])
def test_a_run_counted_in_epochs_is_continued_within_one(stop: int, tmp_path: Path) -> None:
    limits = {"max_epochs": 3, "limit_train_batches": 3}
    assert train(limits, [SaveAt(stop, tmp_path / "a.ckpt")]) == stream(9)
    assert train(limits, [], tmp_path / "a.ckpt") == stream(9)[stop:]


class SaveEnd(Callback):
    """Save once the training has ended, or has failed."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def on_train_end(self, trainer: Trainer, pl_module: Any) -> None:
        trainer.save_checkpoint(self.path)

    def on_exception(self, trainer: Trainer, pl_module: Any, exception: BaseException) -> None:
        trainer.save_checkpoint(self.path)


@pytest.mark.parametrize(
    ("shorter", "longer", "seen", "seen_in_all"),
    [
        ({"max_steps": 4}, {"max_steps": 9}, 4, 9),
        ({"max_steps": 4, "limit_train_batches": 3}, {"max_steps": 9, "limit_train_batches": 3}, 4, 9),
        ({"max_epochs": 2, "limit_train_batches": 3}, {"max_epochs": 3, "limit_train_batches": 3}, 6, 9),
        ({"max_steps": 2, "accumulate_grad_batches": 2}, {"max_steps": 4, "accumulate_grad_batches": 2}, 4, 8),
    ],
    ids=["one endless epoch", "within an epoch", "whole epochs", "accumulated gradients"],
)
def test_a_finished_run_can_be_made_longer(
    shorter: dict[str, Any], longer: dict[str, Any], seen: int, seen_in_all: int, tmp_path: Path
) -> None:
    assert train(shorter, [SaveEnd(tmp_path / "end.ckpt")]) == stream(seen)
    assert train(longer, [], tmp_path / "end.ckpt") == stream(seen_in_all)[seen:]


def test_a_batch_whose_step_failed_is_drawn_again(tmp_path: Path) -> None:
    class FailAt(Callback):
        def on_before_backward(self, trainer: Trainer, pl_module: Any, loss: Tensor) -> None:
            if trainer.global_step == 3:
                raise RuntimeError("out of memory")

    with pytest.raises(RuntimeError, match="out of memory"):
        train({"max_steps": 9}, [FailAt(), SaveEnd(tmp_path / "failed.ckpt")])
    assert train({"max_steps": 9}, [], tmp_path / "failed.ckpt") == stream(9)[3:]


@pytest.mark.parametrize("accumulated", [1, 2])
def test_a_checkpoint_alone_tells_where_the_stream_stood(accumulated: int, tmp_path: Path) -> None:
    path = tmp_path / "a.ckpt"
    train({"max_steps": 6, "limit_train_batches": 4, "accumulate_grad_batches": accumulated}, [SaveAt(5, path)])
    state = torch.load(path, weights_only=True)["Numbers"]
    assert state == {"batches_consumed": 5}, "batches, not steps of the optimizer"
    data = Numbers(batch_size=1, seed=5)
    data.load_state_dict(state)
    assert data.state_dict() == state
    assert int(next(iter(data.train_dataloader()))[0]) == stream(6)[5]
