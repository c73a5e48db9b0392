"""What a language model writes at a third, two thirds and the end of its training."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import Callback
from torch.utils.tensorboard import SummaryWriter

from kernels.dtypes import without_autocast
from lightning_modules.callbacks.tensorboard import RunTensorBoard
from lightning_modules.files import write_whole
from lightning_modules.networks.language_model import CharacterModel

LENGTHS = (20, 30, 60)  # greedy, from each of the first characters
TEMPERATURES = (0.5, 1.0, 2.0)
FREE = 200  # characters drawn at each temperature
FIRST = "TAIWtaiw"


class Samples(Callback):
    """Write samples to `samples.md` in the run's folder, and as text to TensorBoard.

    Greedy ones, the likeliest character every time, from several first characters; and drawn ones at several τ, which
    multiplies the logits. The numbers that decide are always the same, and no generator of the training is touched.
    """

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Settle when it is time; a run without a set end has no thirds."""
        steps = trainer.estimated_stepping_batches
        self._when = {max(1, round(steps * share / 3)) for share in (1, 2, 3)} if 0 < steps < math.inf else set()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Write samples, when it is time."""
        step = trainer.global_step
        if step not in self._when or not trainer.is_global_zero or trainer.fit_loop.epoch_loop._should_accumulate():
            return
        text = sample(pl_module.network)  # type: ignore[arg-type]
        for logger in trainer.loggers:
            if isinstance(logger, RunTensorBoard):
                write_section(Path(logger.log_dir) / "samples.md", step, text)
                writer: SummaryWriter = logger.experiment
                writer.add_text("samples", text, step)


@torch.no_grad()
def sample(network: CharacterModel) -> str:
    """Return samples of a language model, as Markdown."""
    was_training = network.training
    network.eval()
    with without_autocast(network.head.weight.device):
        decoder = network.decoder()
        alphabet, device = network.vocabulary, network.head.weight.device
        first = [character for character in FIRST if character in alphabet] or list(alphabet[:4])
        lines = ["Greedy:", ""]
        for length in LENGTHS:
            decoder.read(network.encode("".join(first))[None])
            tokens, _ = decoder.sample(torch.zeros(length - 1, len(first), device=device), greedy=True)
            lines += [f"- ``{character + network.decode(tokens[:, n])!r}``" for n, character in enumerate(first)]
        for tau in TEMPERATURES:
            decoder.read(network.encode(first[0])[None])
            uniforms = torch.from_numpy(np.random.Generator(np.random.Philox(0)).random((FREE - 1, 1))).float()
            tokens, _ = decoder.sample(uniforms.to(device), tau)
            drawn = first[0] + network.decode(tokens[:, 0])
            lines += ["", f"τ = {tau:g}:", "", *(f"    {line}" for line in drawn.splitlines())]
    network.train(was_training)
    return "\n".join(lines)


def write_section(path: Path, step: int, text: str) -> None:
    """Add a step's samples to the file; of a continued run, cut those from that step on."""
    title = f"## After {step} steps\n"
    before = path.read_text(encoding="utf-8") if path.exists() else "# Samples\n"
    before = before.partition(title)[0].rstrip("\n")
    write_whole(path, f"{before}\n\n{title}\n{text}\n")
