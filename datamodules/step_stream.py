"""Base classes of the data modules. The batch of a step is a pure function of (seed, rank, step).

So runs can be repeated and continued exactly, and no two processes train on the same random batch. Generated data never
end and have no epochs. An epoch of a data set has every example once, in a random order.
"""

import functools
import math
from abc import ABC, abstractmethod
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jsonargparse.typing import PositiveInt
from pytorch_lightning import LightningDataModule
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset

from datamodules.errors import DataError


def step_generator(seed: int, rank: int, step: int) -> np.random.Generator:
    """Return the random number generator of one batch.

    SeedSequence hashes the three numbers. Their sum would give seeds 40 and 42 the same batches, two steps apart.

    Args:
        seed: the run's seed.
        rank: rank of the process.
        step: number of the batch, from 0.

    Raises:
        ValueError: if one of them is negative.
    """
    return np.random.Generator(np.random.Philox(np.random.SeedSequence((seed, rank, step))))


class StepStreamDataModule(LightningDataModule, ABC):
    """Training data without an end. A subclass defines `make_batch`, which draws one batch.

    The stream starts at the trainer's count of batches, so a continued run has the batches that an uninterrupted run
    would have.

    Args:
        batch_size: sequences per batch, on each process.
        seed: seed of the data; train.py passes seed_everything.

    Raises:
        ValueError: if the seed is not 0..2³² − 1.

    Attributes:
        batch_type: the type of its batches, of `datamodules.batches`. train.py compares it with the type that the
            training system takes; None is not compared.
    """

    batch_type: type | None = None

    def __init__(self, batch_size: PositiveInt = 256, seed: int = 42) -> None:
        super().__init__()
        if not 0 <= seed < 2**32:
            raise ValueError(f"the seed of the data must be 0..{2**32 - 1}, got {seed}")
        self.batch_size = batch_size
        self.seed = seed
        self._batches_loaded = 0

    @abstractmethod
    def make_batch(self, generator: np.random.Generator) -> Any:
        """Draw one batch; a function of the generator and the settings alone."""

    def batch_of_step(self, step: int, rank: int) -> Any:
        """Return the batch of a step on a process; a pure function of the settings, the seed and these two."""
        return self.make_batch(step_generator(self.seed, rank, step))

    def train_dataloader(self) -> DataLoader:
        """Return the stream of batches of this process."""
        # Pinned memory is copied to a GPU while the host goes on. The loader has its own generator: otherwise it draws
        # a seed for workers from torch's generator when it starts.
        pin = self.trainer is not None and self.trainer.strategy.root_device.type == "cuda"
        return DataLoader(_StepStream(self), batch_size=None, generator=torch.Generator(), pin_memory=pin)

    def carried(self, processes: int) -> dict[str, int]:
        """Return the settings that a continued run must keep because a state is carried from batch to batch.

        Args:
            processes: number of processes that train together.
        """
        return {}

    @property
    def _ranks(self) -> int:
        """Number of processes that train together."""
        return self.trainer.world_size if self.trainer else 1

    @property
    def batches_consumed(self) -> int:
        """Number of batches that the training has consumed, including those before a continuation.

        With a trainer it is the trainer's own count, which is part of its checkpoints. `processed` counts a batch once
        its step is done: unlike the loader's count it leaves out what is prefetched, unlike `ready` a batch whose step
        failed, and unlike `completed` it is right when a checkpoint is saved at the end of a step. `total` goes on over
        epochs, and counts batches where gradients are accumulated. Without a trainer it is what `load_state_dict` got.
        """
        if self.trainer is None:
            return self._batches_loaded
        return self.trainer.fit_loop.epoch_loop.batch_progress.total.processed  # type: ignore[attr-defined]

    @property
    def split(self) -> dict[str, Any]:
        """Description of the splits; {} if the data are generated.

        It has "name", the name of the data; "content", the fingerprint of the examples of every split; and the settings
        by which they were split. A checkpoint holds it, so that a model is not tested on examples of its training.
        """
        return {}

    @functools.cached_property
    def _split(self) -> dict[str, Any]:
        return self.split  # computed once for all checkpoints of a training

    def reader(self) -> dict[str, Any]:
        """Return what reads new examples as those of the training were read, such as a vocabulary.

        A checkpoint holds it. Its values are tensors, numbers, strings, or lists of them.
        """
        return {}

    @functools.cached_property
    def _reader(self) -> dict[str, Any]:
        return self.reader()  # made once for all checkpoints of a training

    def read_new(self, path: Path, reader: dict[str, Any]) -> None:
        """Read new examples, which are then predicted; the data of the training are not needed.

        Args:
            path: a file with an example in each line.
            reader: what `reader` returned in the training.

        Raises:
            DataError: if the file cannot be read, or these data have no such examples.
        """
        raise DataError(f"{type(self).__name__} reads no new examples; leave --examples out")

    def columns(self) -> dict[str, list[str]]:
        """Return what is known about each example that is predicted, by the name of a column."""
        return {}

    def state_dict(self) -> dict[str, Any]:
        """Return the number of batches consumed, the split and the reader, for the checkpoint."""
        parts = {"split": self._split, "reader": self._reader}
        return {"batches_consumed": self.batches_consumed, **{name: part for name, part in parts.items() if part}}

    def __str__(self) -> str:
        """Return the name of the class. jsonargparse asks for it, and Lightning's text would read all data."""
        return type(self).__name__

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Start the stream at the count of a checkpoint. With a trainer its own restored count is used instead.

        Raises:
            KeyError: if the state is of another data module.
        """
        self._batches_loaded = state_dict["batches_consumed"]


class _StepStream(IterableDataset):
    def __init__(self, data: StepStreamDataModule) -> None:
        self.data = data

    def __iter__(self) -> Iterator[Any]:
        rank = self.data.trainer.global_rank if self.data.trainer else 0
        step = self.data.batches_consumed
        while True:
            yield self.data.batch_of_step(step, rank)
            step += 1


class EpochStreamDataModule(StepStreamDataModule, ABC):
    """Base class of data sets. A subclass defines `count` and `examples`; `split` ties checkpoints to its examples.

    An epoch has every training example once, in a random order of its own. Validation and test have all examples in
    order, on every process: to distribute them evenly among processes some would have to count twice.

    Args:
        batch_size: examples per batch, on each process.
        seed: seed of the order; train.py passes seed_everything.
    """

    def __init__(self, batch_size: PositiveInt = 256, seed: int = 42) -> None:
        super().__init__(batch_size, seed)
        self._copies: dict[torch.device, list[tuple[Tensor, Tensor]]] = {}  # each shared tensor with its copy
        self.predicted = "test"  # the split that is predicted; "new" after `read_new`

    @property
    def shared_tensors(self) -> tuple[Tensor, ...]:
        """Tensors that are the same ones in every batch, such as edges. They are copied to a device once."""
        return ()

    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Any:
        """Return a batch on a device. A shared tensor is the same copy in all of them, so networks can cache by it."""
        move = super().transfer_batch_to_device
        if not self.shared_tensors:
            return move(batch, device, dataloader_idx)
        if device not in self._copies:
            with torch.inference_mode(False):  # copies made by an evaluation must serve a later training
                self._copies[device] = [(shared, shared.to(device)) for shared in self.shared_tensors]
        parts = []
        for part in batch:
            copy = next((copy for shared, copy in self._copies[device] if shared is part), None)
            parts.append(move(part, device, dataloader_idx) if copy is None else copy)
        return type(batch)(*parts)

    @abstractmethod
    def count(self, split: str) -> int:
        """Return the number of examples of "train", "val" or "test", or of "new" after `read_new`."""

    @abstractmethod
    def examples(self, split: str, chosen: Tensor) -> Any:
        """Return a batch of the examples of a split, by their numbers in it, int64 [B]."""

    @property
    def eval_batch_size(self) -> int:
        """Number of examples of a batch in an evaluation."""
        return self.batch_size

    @property
    def steps_per_epoch(self) -> int:
        """Number of steps of an epoch. The sizes of its batches differ by one example at most.

        Each process has at least one example in each step, if there are enough.
        """
        n = self.count("train")
        return max(1, min(math.ceil(n / (self.batch_size * self._ranks)), n // self._ranks))

    def make_batch(self, generator: np.random.Generator) -> Any:
        """Draw training examples."""
        return self.examples("train", self.order(generator)[: self.batch_size])

    def batch_of_step(self, step: int, rank: int) -> Any:
        """Return the batch of a step: the next examples of this process in the order of the epoch."""
        epoch, place = divmod(step, self.steps_per_epoch)
        order = self.order(step_generator(self.seed, 0, epoch))
        return self.examples("train", order[place * self._ranks + rank :: self.steps_per_epoch * self._ranks])

    def order(self, generator: np.random.Generator) -> Tensor:
        """Return the numbers of the training examples in random order.

        Batch k of the S batches of an epoch (steps times processes) has every S-th of them from the k-th on.
        """
        return torch.from_numpy(generator.permutation(self.count("train")))

    def train_dataloader(self) -> DataLoader:
        """Return the batches of an epoch, from where the training stands."""
        return DataLoader(_Epoch(self), batch_size=None, generator=torch.Generator())

    def is_empty(self, split: str) -> bool:
        """Return whether a split has no examples."""
        return not self.count(split)

    def val_dataloader(self) -> DataLoader | list[DataLoader]:
        """Return the validation examples, or no loader if none are held out."""
        return [] if self.is_empty("val") else self._held_out("val")

    def test_dataloader(self) -> DataLoader:
        """Return the test examples."""
        return self._held_out("test")

    def predict_dataloader(self) -> DataLoader:
        """Return the examples that are predicted: new ones, or those of the test."""
        return self._held_out(self.predicted)

    def _held_out(self, split: str) -> DataLoader:
        return DataLoader(_HeldOut(self, split), batch_size=None, generator=torch.Generator())


class _Epoch(IterableDataset):
    def __init__(self, data: EpochStreamDataModule) -> None:
        self.data = data

    def __len__(self) -> int:
        return self.data.steps_per_epoch

    def __iter__(self) -> Iterator[Any]:
        rank = self.data.trainer.global_rank if self.data.trainer else 0
        first, steps = self.data.batches_consumed, self.data.steps_per_epoch
        # A trainer may end an epoch earlier (limit_train_batches); its next epoch goes on with the batches that follow.
        for step in count(first) if self.data.trainer else range(first, first - first % steps + steps):
            yield self.data.batch_of_step(step, rank)


class _HeldOut(IterableDataset):
    def __init__(self, data: EpochStreamDataModule, split: str) -> None:
        self.data, self.split = data, split

    def __len__(self) -> int:
        return math.ceil(self.data.count(self.split) / self.data.eval_batch_size)

    def __iter__(self) -> Iterator[Any]:
        for chosen in torch.arange(self.data.count(self.split)).split(self.data.eval_batch_size):
            yield self.data.examples(self.split, chosen)
