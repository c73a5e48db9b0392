"""last.ckpt, from which a run is continued exactly: saved regularly, when the run is stopped, and at its end."""

import math
import random
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jsonargparse.typing import PositiveInt
from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import Checkpoint
from pytorch_lightning.trainer.states import TrainerFn

from lightning_modules.signals import signals


class Checkpoints(Checkpoint):
    """Keep `last.ckpt` of a run. A run continued from it has the same numbers as an uninterrupted one, to the last bit.

    Lightning's checkpoint lacks the states of the random number generators. They are added for every process.

    Args:
        every_n_steps: optimizer steps between two saves.
    """

    def __init__(self, every_n_steps: PositiveInt = 500) -> None:
        self.every_n_steps = every_n_steps
        self.path: Path | None = None  # set by train.py's command line; None saves nothing
        self.saved_step = 0
        self._rng_states: dict[str, torch.Tensor] | None = None

    def save(self, trainer: Trainer) -> None:
        """Save `last.ckpt`, unless it holds this step already. Only correct between two steps."""
        if self.path is not None and trainer.global_step != self.saved_step:
            with signals.uninterrupted():
                trainer.save_checkpoint(self.path)
            self.saved_step = trainer.global_step

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Restore the generators before the first batch of a continued run; nothing draws between here and the step."""
        self._restore_generators(trainer)

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Restore the generators of a continued run that has no step left, only its test."""
        self._restore_generators(trainer)

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Add the states of the generators of all processes, [processes, state] for each generator."""
        states = {name: state.to(trainer.strategy.root_device) for name, state in rng_states().items()}
        if trainer.world_size > 1:
            states = {name: trainer.strategy.all_gather(state) for name, state in states.items()}
        else:
            states = {name: state[None] for name, state in states.items()}
        checkpoint["rng_states"] = {name: state.cpu() for name, state in states.items()}

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Record the step as saved, and keep the states of the generators until the first batch."""
        if trainer.state.fn == TrainerFn.FITTING:
            self.saved_step = checkpoint["global_step"]
            self._rng_states = checkpoint.get("rng_states")

    def _restore_generators(self, trainer: Trainer) -> None:
        if self._rng_states is not None:
            restore_rng_states(self._rng_states, trainer.global_rank)
            self._rng_states = None


def rng_states() -> dict[str, torch.Tensor]:
    """Return the states of the generators of torch (CPU, and CUDA where in use), numpy and Python, as tensors."""
    _, keys, position, has_gauss, gauss = np.random.get_state(legacy=True)
    assert isinstance(keys, np.ndarray)
    _, words, next_gauss = random.getstate()
    states = {
        "torch": torch.get_rng_state(),
        "numpy": torch.tensor([*keys.tolist(), position, has_gauss, gauss], dtype=torch.float64),
        "python": torch.tensor([*words, torch.nan if next_gauss is None else next_gauss], dtype=torch.float64),
    }
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        states["cuda"] = torch.cuda.get_rng_state()
    return states


def restore_rng_states(states: dict[str, torch.Tensor], rank: int) -> None:
    """Set the generators to the states that `rng_states` returned in the process of this rank.

    A process that the saved run did not have, or a generator that it did not use, keeps its current state.
    """
    if rank >= len(states["torch"]):
        return
    own = {name: state[rank].clone() for name, state in states.items()}  # set_rng_state overlooks a view's offset
    torch.set_rng_state(own["torch"])
    *keys, position, has_gauss, gauss = own["numpy"].tolist()
    np.random.set_state(("MT19937", np.array(keys, dtype=np.uint32), int(position), int(has_gauss), gauss))
    *words, next_gauss = own["python"].tolist()
    random.setstate((3, tuple(map(int, words)), None if math.isnan(next_gauss) else next_gauss))
    if "cuda" in own and torch.cuda.is_available():
        torch.cuda.set_rng_state(own["cuda"])
