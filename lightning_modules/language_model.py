"""Training system: a network that reads text and names the next character.

Legend: B batch, T time, V vocabulary.
"""

import math
from collections.abc import Callable
from typing import Any, Literal

import torch
from jsonargparse.typing import ClosedUnitInterval, NonNegativeFloat, PositiveFloat
from pytorch_lightning.callbacks import Callback
from pytorch_lightning.utilities.exceptions import MisconfigurationException
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from lightning_modules.callbacks.samples import Samples
from lightning_modules.training_system import TrainingSystem

Batch = tuple[Tensor, Tensor, bool]


class LanguageModel(TrainingSystem):
    """Cross-entropy per character, in nats; L = −mean log softmax(p(t))[character t + 1].

    The state is carried from step to step, without its gradient, unless a batch sets `reset_state`: truncated
    backpropagation through time. Held-out text is read as one stream, with carried state, to its end.

    Args:
        network: tokens [B, T] and a state in, logits [B, T, V] and the state out.
        optimizer: "adamw", or "rmsprop" as the study.
        learning_rate: step size, at its highest.
        weight_decay: AdamW's, 0 for RMSprop.
        schedule: "constant", or "cosine" down to a twentieth at the last step.
        warmup: share of the steps in which the rate rises from 0.
        samples: whether to write samples at a third, two thirds and the end.
    """

    takes = "a text"
    faster_in_bf16 = True
    calls = ("tokens", "state")

    def __init__(
        self,
        network: nn.Module,
        optimizer: Literal["adamw", "rmsprop"] = "adamw",
        learning_rate: PositiveFloat = 6e-3,
        weight_decay: NonNegativeFloat = 0.01,
        schedule: Literal["constant", "cosine"] = "cosine",
        warmup: ClosedUnitInterval = 0.02,
        samples: bool = True,
    ) -> None:
        super().__init__(network)
        self.optimizer, self.learning_rate, self.weight_decay = optimizer, learning_rate, weight_decay
        self.schedule, self.warmup, self.samples = schedule, warmup, samples
        self._state: Any = None  # of the training streams
        self._held_out_state: Any = None

    def forward(self, tokens: Tensor, state: Any = None) -> tuple[Tensor, Any]:
        """Return logits [B, T, V] and the state after tokens [B, T]."""
        return self.network(tokens, state)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Return the loss of one batch, and carry its state on."""
        tokens, targets, reset_state = batch
        logits, state = self(tokens, None if reset_state else self._carried())
        self._state = _each(torch.Tensor.detach, state)
        return self._log(logits, targets, "train")

    def on_validation_epoch_start(self) -> None:
        """Begin the validation text."""
        self._held_out_state = None

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Read on in the validation text."""
        self._read_on(batch, "val")

    def on_test_epoch_start(self) -> None:
        """Begin the test text."""
        self._held_out_state = None

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        """Read on in the test text."""
        self._read_on(batch, "test")

    def configure_optimizers(self) -> Any:
        """Return the optimiser and, if it is not constant, its learning rate's schedule, step by step."""
        if self.optimizer == "rmsprop":
            optimizer: torch.optim.Optimizer = torch.optim.RMSprop(self.parameters(), self.learning_rate)
        else:
            optimizer = torch.optim.AdamW(
                self.parameters(), self.learning_rate, betas=(0.9, 0.99), weight_decay=self.weight_decay
            )
        steps = self.trainer.estimated_stepping_batches  # −1 or infinite, if no end is set
        if not 0 < steps < math.inf and (self.schedule != "constant" or self.warmup > 0):
            raise MisconfigurationException("warm-up and schedule need to know the end; give --trainer.max_steps")
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: self._rate(step, int(steps)))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def configure_callbacks(self) -> list[Callback]:
        """Return the writer of samples."""
        return [Samples()] if self.samples else []

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add the carried state of every process, for an exact continuation, and what generate.py needs."""
        if self._state is not None:
            alone = self.trainer.world_size == 1
            checkpoint["carried_states"] = _each(  # [processes, layers, B, H], or a tuple of them
                lambda value: (value[None] if alone else self.trainer.strategy.all_gather(value)).cpu(), self._state
            )
        if hasattr(self.network, "description"):
            checkpoint["language_model"] = self.network.description()  # type: ignore[operator]

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Restore the state of this process; a process that the saved run did not have starts without one."""
        states, rank = checkpoint.get("carried_states"), self.global_rank
        known = states is not None and rank < len(states if isinstance(states, Tensor) else states[0])
        self._state = _each(lambda value: value[rank].clone(), states) if known else None

    def _carried(self) -> Any:
        """Return the carried state, where and as the network takes it: it may come from another device or precision."""
        weight = next(self.network.parameters())
        return None if self._state is None else _each(lambda value: value.to(weight), self._state)

    def _rate(self, step: int, steps: int) -> float:
        """Return the learning rate of a step as a share of the highest."""
        rise = min(1.0, (step + 1) / max(1.0, self.warmup * steps))
        if self.schedule == "constant":
            return rise
        return rise * (0.05 + 0.95 * (1 + math.cos(math.pi * min(1.0, step / max(1, steps)))) / 2)

    def _read_on(self, batch: Batch, split: str) -> None:
        tokens, targets, _ = batch
        logits, self._held_out_state = self(tokens, self._held_out_state)
        self._log(logits, targets, split)

    def _log(self, logits: Tensor, targets: Tensor, split: str) -> Tensor:
        """Log loss, accuracy and bits per character of logits [B, T, V] and targets [B, T]; return the loss."""
        loss = cross_entropy(logits.flatten(0, 1), targets.flatten())
        accuracy = (logits.argmax(2) == targets).float().mean()
        nats = self.log_metric(split, "loss", loss, targets.numel())
        self.log_metric(split, "accuracy", accuracy, targets.numel())
        bits, synced = nats / math.log(2), split != "train"
        self.log(f"{split}/bits_per_character", bits, batch_size=targets.numel(), sync_dist=synced)
        return loss


def _each(change: Callable[[Tensor], Tensor], state: Any) -> Any:
    """Return a state, a tensor or a tuple of them, with every tensor changed."""
    return change(state) if isinstance(state, Tensor) else tuple(map(change, state))
