"""Samples and weights of a language model at a third, at two thirds and at the end of its training."""

import math
from pathlib import Path

from pytorch_lightning import LightningModule, Trainer
from torch.utils.tensorboard import SummaryWriter

from kernels.decode import Sampling
from kernels.dtypes import without_autocast
from lightning_modules.callbacks.evaluation import evaluation
from lightning_modules.callbacks.step_callback import StepCallback
from lightning_modules.callbacks.tensorboard import RunTensorBoard
from lightning_modules.files import write_whole
from lightning_modules.networks.language_model import CharacterModel
from lightning_modules.text_generation import continuations

STARTS = "TAIWtaiw"  # first characters of the samples
GREEDY_LENGTHS = (20, 30, 60)
TEMPERATURES = (0.5, 1.0, 2.0)
RANDOM_LENGTH = 200


class Samples(StepCallback):
    """Write samples to `samples.md` in the run's folder, and as text to TensorBoard; save the weights of these steps.

    The weights are in `step_<n>.ckpt`, from which generate.py samples more.
    Greedy samples take the likeliest character at each place. Random ones are drawn with logits multiplied by τ, from
    fixed random numbers, so the generators of the training do not change.
    """

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Choose the steps; a run without a set end has none."""
        steps = trainer.estimated_stepping_batches
        self._when = {max(1, round(steps * share / 3)) for share in (1, 2, 3)} if 0 < steps < math.inf else set()

    def on_step_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write samples and save the weights if this step was chosen."""
        step = trainer.global_step
        if step not in self._when:
            return
        for logger in trainer.loggers:
            if isinstance(logger, RunTensorBoard):
                folder = Path(logger.log_dir)
                trainer.save_checkpoint(folder / f"step_{step}.ckpt", weights_only=True)  # by all processes together
                if trainer.is_global_zero:
                    text = sample(pl_module.network)  # type: ignore[arg-type]
                    write_section(folder / "samples.md", step, text)
                    writer: SummaryWriter = logger.experiment
                    writer.add_text("samples", text, step)


def sample(network: CharacterModel) -> str:
    """Return samples of a language model, as Markdown."""
    first = [character for character in STARTS if character in network.vocabulary] or list(network.vocabulary[:4])
    lines = ["Greedy:", ""]
    with evaluation(network), without_autocast(network.head.weight.device):
        for length in GREEDY_LENGTHS:
            texts = continuations(network, first, length - 1, Sampling(greedy=True))
            lines += [f"- ``{character + text!r}``" for character, text in zip(first, texts, strict=True)]
        for tau in TEMPERATURES:
            drawn = first[0] + continuations(network, first[:1], RANDOM_LENGTH - 1, Sampling(tau))[0]
            lines += ["", f"τ = {tau:g}:", "", *(f"    {line}" for line in drawn.splitlines())]
    return "\n".join(lines)


def write_section(path: Path, step: int, text: str) -> None:
    """Append the samples of a step to the file; of a continued run, remove those from this step on first."""
    title = f"## After {step} steps\n"
    before = path.read_text(encoding="utf-8") if path.exists() else "# Samples\n"
    before = before.partition(title)[0].rstrip("\n")
    write_whole(path, f"{before}\n\n{title}\n{text}\n")
