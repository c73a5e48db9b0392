"""Training system: language modelling, the prediction of the next character of a text.

Legend: B batch, T time, V vocabulary.
"""

import math
from collections.abc import Callable
from typing import Any, Literal

import torch
from jsonargparse.typing import ClosedUnitInterval, NonNegativeFloat, PositiveFloat
from pytorch_lightning.callbacks import Callback
from torch import Tensor, nn

from datamodules.batches import TextBatch
from lightning_modules.callbacks.samples import Samples
from lightning_modules.errors import UserError
from lightning_modules.training_system import Split, TrainingSystem


class LanguageModel(TrainingSystem):
    """Cross-entropy per character in nats, L = −mean log softmax(p(t))[character t + 1].

    The recurrent state is carried from batch to batch without its gradient (truncated backpropagation through time),
    unless a batch sets `reset_state`.

    Args:
        network: a network that maps tokens [B, T] and a state to logits [B, T, V] and the next state.
        optimizer: "adamw", or "rmsprop" as in the practical of 2020.
        learning_rate: the highest learning rate.
        weight_decay: decoupled weight decay of AdamW; RMSprop has none.
        schedule: "constant", or "cosine" decay to 1/20 of the learning rate at the last step.
        warmup: fraction of the steps in which the learning rate rises linearly from 0.
        samples: whether to write samples of text at a third, at two thirds and at the end of the training.
    """

    faster_in_bf16 = True

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
        self._states: dict[str, Any] = {}  # the carried state of each split

    def forward(self, tokens: Tensor, state: Any = None) -> tuple[Tensor, Any]:
        """Return logits [B, T, V] and the state after tokens [B, T]."""
        return self.network(tokens, state)

    def step(self, batch: TextBatch, split: Split) -> Tensor:
        """Return the loss of a batch and log it with accuracy and bits per character; carry the state on."""
        tokens, targets, reset_state = batch
        logits, state = self(tokens, None if reset_state else self._carried(split))
        self._states[split] = _each(torch.Tensor.detach, state)
        loss = self.classify(split, logits.flatten(0, 1), targets.flatten())
        self.log_mean(split, "bits_per_character", loss / math.log(2), targets.numel())
        return loss

    def configure_optimizers(self) -> Any:
        """Return the optimizer and the schedule of its learning rate."""
        if self.optimizer == "rmsprop":
            optimizer: torch.optim.Optimizer = torch.optim.RMSprop(self.parameters(), self.learning_rate)
        else:
            optimizer = torch.optim.AdamW(
                self.parameters(), self.learning_rate, betas=(0.9, 0.99), weight_decay=self.weight_decay,
                fused=self.fused,
            )  # fmt: skip
        steps = self.trainer.estimated_stepping_batches  # −1 or infinite, if no end is set
        if not 0 < steps < math.inf and (self.schedule != "constant" or self.warmup > 0):
            raise UserError("warm-up and schedule need the last step; give --trainer.max_steps")
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: self._rate(step, int(steps)))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def configure_callbacks(self) -> list[Callback]:
        """Return the callback that writes samples."""
        return [Samples()] if self.samples else []

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add the carried state of every process, for an exact continuation, and the description of the network."""
        if "train" in self._states:
            alone = self.trainer.world_size == 1
            checkpoint["carried_states"] = _each(  # [processes, layers, B, H], or a tuple of them
                lambda value: (value[None] if alone else self.trainer.strategy.all_gather(value)).cpu(),
                self._states["train"],
            )
        if hasattr(self.network, "description"):
            checkpoint["language_model"] = self.network.description()  # type: ignore[operator]

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Restore the state of this process; a process that the saved run did not have starts without one."""
        states, rank = checkpoint.get("carried_states"), self.global_rank
        self._states.clear()
        if states is not None and rank < len(states if isinstance(states, Tensor) else states[0]):
            self._states["train"] = _each(lambda value: value[rank].clone(), states)

    def _carried(self, split: Split) -> Any:
        """Return the carried state on the device and in the precision of the network: a checkpoint may have others."""
        weight = next(self.network.parameters())
        return _each(lambda value: value.to(weight), self._states[split]) if split in self._states else None

    def _rate(self, step: int, steps: int) -> float:
        """Return the learning rate of a step as a fraction of the highest."""
        rise = min(1.0, (step + 1) / max(1.0, self.warmup * steps))
        if self.schedule == "constant":
            return rise
        return rise * (0.05 + 0.95 * (1 + math.cos(math.pi * min(1.0, step / max(1, steps)))) / 2)


def _each(function: Callable[[Tensor], Tensor], state: Any) -> Any:
    """Return a state, which is a tensor or a tuple of tensors, with a function applied to every tensor."""
    return function(state) if isinstance(state, Tensor) else tuple(map(function, state))
