"""Batches made anew at every step, each a pure function of (seed, rank, step): repeatable, resumable, never shared."""

from abc import abstractmethod
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from jsonargparse.typing import PositiveInt
from pytorch_lightning import LightningDataModule
from torch.utils.data import DataLoader, IterableDataset


def step_generator(seed: int, rank: int, step: int) -> np.random.Generator:
    """Return the random number generator of one batch.

    SeedSequence hashes the three numbers. Adding them up would give seeds 40 and 42 the same batches two steps apart.

    Args:
        seed: the run's seed.
        rank: number of the process among those that train together.
        step: number of the batch, from 0.
    """
    return np.random.Generator(np.random.Philox(np.random.SeedSequence((seed, rank, step))))


class StepStreamDataModule(LightningDataModule):
    """Training data without an end: subclasses say how one batch is drawn.

    The stream starts where the trainer's count of batches stands, so a continued run sees the batches that the
    broken-off one would have seen.

    Args:
        batch_size: sequences a batch, on each process.
        seed: seed of the data; train.py passes seed_everything.
    """

    def __init__(self, batch_size: PositiveInt = 256, seed: int = 42) -> None:
        super().__init__()
        self.batch_size = batch_size
        self.seed = seed

    @abstractmethod
    def make_batch(self, generator: np.random.Generator) -> Any:
        """Draw one batch."""

    def train_dataloader(self) -> DataLoader:
        """Return the stream of batches of this process."""
        # A generator of its own: a loader draws a seed for worker processes when it starts, by default from torch's.
        return DataLoader(_StepStream(self), batch_size=None, generator=torch.Generator())

    @property
    def batches_consumed(self) -> int:
        """Number of batches that the training has consumed, those before a continuation included; 0 without a trainer.

        Lightning keeps the count in its checkpoints. `processed` counts a batch once its step is done: unlike the
        loader's own count it leaves out what is prefetched, and unlike `completed` it is right when a checkpoint is
        saved at the end of a step.
        """
        if self.trainer is None:
            return 0
        return self.trainer.fit_loop.epoch_loop.batch_progress.total.processed  # type: ignore[attr-defined]


class _StepStream(IterableDataset):
    def __init__(self, data: StepStreamDataModule) -> None:
        self.data = data

    def __iter__(self) -> Iterator[Any]:
        rank = self.data.trainer.global_rank if self.data.trainer else 0
        step = self.data.batches_consumed
        while True:
            yield self.data.make_batch(step_generator(self.data.seed, rank, step))
            step += 1
