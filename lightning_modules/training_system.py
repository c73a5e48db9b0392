"""Base class of the training systems: the steps of training, validation and test, and what every system logs."""

import inspect
import math
import warnings
from abc import abstractmethod
from collections.abc import Callable
from typing import Any, Literal

import torch
from pytorch_lightning import LightningModule
from pytorch_lightning.strategies import DDPStrategy, SingleDeviceStrategy
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torchmetrics import Metric

from lightning_modules.errors import UserError

Split = Literal["train", "val", "test"]


class Mean(Metric):
    """Weighted mean in float32, at every precision of a run. A mean of values with NaN is NaN.

    (torchmetrics' MeanMetric leaves NaN out, or with nan_strategy="disable" ignores the weights.)
    """

    total: Tensor
    weight: Tensor

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        for state in ("total", "weight"):
            self.add_state(state, torch.zeros((), dtype=torch.float32), dist_reduce_fx="sum")

    def update(self, values: Tensor, weights: Tensor | int = 1) -> None:
        """Add values, each with its weight, or all with one weight."""
        self.total += (values.float() * weights).sum()
        self.weight += weights.sum() if isinstance(weights, Tensor) else weights * values.numel()

    def compute(self) -> Tensor:
        """Return the mean."""
        return self.total / self.weight

    def reset(self) -> None:
        """Start a new mean that can be used in training, even if an evaluation in inference mode resets it."""
        with torch.inference_mode(False):
            super().reset()


class TrainingSystem(LightningModule):
    """A LightningModule around one network.

    A subclass defines `step`, `forward` and `configure_optimizers`. It annotates `step` with the type of batch that it
    takes (see `datamodules.batches`). `forward` has the parameters with which the network is called.

    Args:
        network: the network to train.

    Attributes:
        primary_metric: the metric, beside the loss, by which runs of this task are judged. It is logged as
            train/<primary_metric>, val/<primary_metric> and test/<primary_metric>, drawn in curves.png, averaged in
            summary.json and tabulated by study.py.
        monitor: the metric by which best.ckpt is chosen.
        mode: "min" or "max", whether lower or higher values of it are better.
        faster_in_bf16: whether steps are faster in bf16-mixed on devices that have bfloat16 instructions;
            `--trainer.precision auto` then chooses it.
        step_values: the metrics of the last optimizer step by tag, on the device, since reading one on the host waits
            for the device. Callbacks find them in `trainer.callback_metrics`.
        values_are_read: whether the callback `MetricsCSV`, which sets this, reads `step_values`, many steps at once.
            Otherwise they are logged with Lightning's `log`.

    Raises:
        ValueError: if the network cannot be called with the parameters of `forward`.
    """

    primary_metric = "accuracy"
    monitor = "val/loss"
    mode = "min"
    faster_in_bf16 = False
    values_are_read = False

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self._check_network(network)
        with warnings.catch_warnings():
            # From the command line the network is saved as its config; made in Python, it is a module and is left out.
            warnings.filterwarnings("ignore", "Attribute 'network' is an instance of `nn.Module`")
            self.save_hyperparameters(logger=False)
        if isinstance(self.hparams["network"], nn.Module):
            del self.hparams["network"]
        self.network = network
        self.metrics = nn.ModuleDict()  # by tag, such as "val/loss"; each is made when it is first logged
        self.step_values: dict[str, Tensor] = {}
        self._parts: dict[str, list[Tensor]] = {}  # the means of each part of an optimizer step
        self._gradient_norm: Tensor | None = None

    @abstractmethod
    def step(self, batch: Any, split: Split) -> Tensor | None:
        """Log the metrics of a batch, and return its loss; only training needs the loss."""

    def training_step(self, batch: Any, batch_idx: int) -> Tensor | None:
        """Return the loss of a training batch."""
        return self.step(batch, "train")

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        """Log the metrics of a validation batch."""
        self.step(batch, "val")

    def test_step(self, batch: Any, batch_idx: int) -> None:
        """Log the metrics of a test batch."""
        self.step(batch, "test")

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        """Reset the training metrics at the first batch of an optimizer step."""
        if batch_idx % self.trainer.accumulate_grad_batches == 0:
            self.step_values, self._parts = {}, {}
            for tag, metric in self.metrics.items():
                if tag.startswith("train/"):
                    metric.reset()  # type: ignore[operator]

    def log_metric(self, split: Split, name: str, make: Callable[..., Metric], *inputs: Any) -> None:
        """Log a metric as `<split>/<name>`: in training over an optimizer step, otherwise over the whole split.

        Args:
            split: "train", "val" or "test".
            name: name of the metric.
            make: the class of the metric, or another function that makes it.
            inputs: what the metric is updated with.
        """
        tag = f"{split}/{name}"
        if tag not in self.metrics:
            with torch.inference_mode(False):  # a metric made in an evaluation can then be updated in training
                # In training each process logs its own batches.
                self.metrics[tag] = make(sync_on_compute=split != "train").to(self.device)
        metric: Any = self.metrics[tag]
        metric.update(*inputs)
        if split == "train":
            self.step_values[tag] = metric.compute()
        else:
            self.log(tag, metric, prog_bar=True, metric_attribute=f"metrics.{tag}")

    def log_mean(self, split: Split, name: str, values: Tensor, weights: Tensor | int = 1) -> None:
        """Log a mean as `<split>/<name>`: in training over an optimizer step, otherwise over the whole split.

        The batches of an optimizer step that accumulates gradients have equal weights, as in the gradient.

        Args:
            split: "train", "val" or "test".
            name: name of the metric.
            values: a value of each example, or one mean of a batch.
            weights: weights of the values in validation and test: the size of the batch, if `values` is its mean.
        """
        values = values.detach()
        if split != "train":
            self.log_metric(split, name, Mean, values, weights)
            return
        tag = f"train/{name}"
        parts = self._parts.setdefault(tag, [])
        # A copy even of one value: it is read later, when the next step may have written over it.
        parts.append((values.mean() if values.dim() else values.clone()).float())
        self.step_values[tag] = parts[0] if len(parts) == 1 else sum(parts[1:], parts[0]) / len(parts)

    def classify(self, split: Split, logits: Tensor, labels: Tensor, label_smoothing: float = 0.0) -> Tensor:
        """Log softmax cross-entropy as the loss, and the accuracy.

        Args:
            split: "train", "val" or "test".
            logits: scores of the classes [B, C].
            labels: correct classes [B].
            label_smoothing: the share of a label that is spread over all classes.

        Returns:
            The loss, −mean log softmax(logits)[label].
        """
        loss = cross_entropy(logits, labels, label_smoothing=label_smoothing)
        self.log_mean(split, "loss", loss, len(labels))
        self.log_mean(split, "accuracy", (logits.argmax(1) == labels).float())
        return loss

    def _check_network(self, network: nn.Module) -> None:
        inputs = inspect.signature(self.forward).parameters
        try:
            inspect.signature(network.forward).bind(*inputs)
        except TypeError as error:
            kind = f"{type(network).__module__}.{type(network).__qualname__}"
            raise ValueError(
                f"{type(self).__name__} calls its network with ({', '.join(inputs)}), which {kind} does not take "
                f"({error}); name another with --model.network"
            ) from None

    @property
    def fused(self) -> bool | None:
        """The argument `fused` of Adam and AdamW: one kernel for all weights on a GPU; elsewhere torch chooses.

        Not for float16, because Lightning clips no gradient that the optimizer itself scales.
        """
        return True if self.device.type == "cuda" and self.trainer.precision != "16-mixed" else None

    def cosine_decay(self, optimizer: torch.optim.Optimizer) -> dict[str, Any]:
        """Return an optimizer whose learning rate decays along a cosine to 0 at the end of the training.

        Raises:
            UserError: if the training has no end.
        """
        steps = self.trainer.estimated_stepping_batches  # −1 or infinite, if no end is set
        if not 0 < steps < math.inf:
            raise UserError("cosine decay needs the last step; give --trainer.max_epochs or max_steps")
        # It depends only on the step, so a run that continues a shorter one decays to its own end.
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: (1 + math.cos(math.pi * step / steps)) / 2)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def backward(self, loss: Tensor, *args: Any, **kwargs: Any) -> None:
        """Run the backward pass in this thread. Handing it to another takes longer than a short sequence on a GPU."""
        with torch.autograd.set_multithreading_enabled(False):
            super().backward(loss, *args, **kwargs)

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Log the metrics of the step, the learning rate, and the norm of the whole gradient before it is clipped."""
        gradients = [parameter.grad for parameter in _weights(optimizer) if parameter.grad is not None]
        self._gradient_norm = nn.utils.get_total_norm(gradients)
        self.step_values["learning_rate"] = torch.tensor(optimizer.param_groups[0]["lr"])
        self.step_values["train/gradient_norm"] = self._gradient_norm
        shown = {tag: value for tag, value in self.step_values.items() if tag in self._parts or tag in self.metrics}
        if self.values_are_read:
            self.trainer.callback_metrics.update(self.step_values)
            self.trainer.progress_bar_metrics.update(shown)  # type: ignore[arg-type]  # floats once they are shown
        else:  # works with every trainer, takes a millisecond and waits for the device
            self.log_dict({tag: value for tag, value in self.step_values.items() if tag not in shown})
            self.log_dict(shown, prog_bar=True)

    def configure_gradient_clipping(
        self,
        optimizer: torch.optim.Optimizer,
        gradient_clip_val: int | float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Clip the gradient. Its norm is known already; Lightning would compute it again."""
        whole = isinstance(self.trainer.strategy, SingleDeviceStrategy | DDPStrategy)  # others may hold a part of it
        scaled = self.trainer.precision == "16-mixed"  # Lightning refuses optimizers that get scaled gradients
        if (
            whole
            and not scaled
            and gradient_clip_val
            and gradient_clip_algorithm in (None, "norm")
            and self._gradient_norm is not None
        ):
            nn.utils.clip_grads_with_norm_(_weights(optimizer), gradient_clip_val, self._gradient_norm)
        else:
            super().configure_gradient_clipping(optimizer, gradient_clip_val, gradient_clip_algorithm)


def _weights(optimizer: torch.optim.Optimizer) -> list[nn.Parameter]:
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]
