"""A picture of texts after training: their words, coloured by the attention of the network.

Legend: B texts, T words.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import Callback
from torch import Tensor, nn

from lightning_modules.attention_page import STRONGEST, shades
from lightning_modules.callbacks.colours import colour
from lightning_modules.callbacks.evaluation import evaluation
from lightning_modules.callbacks.tensorboard import RunTensorBoard

if TYPE_CHECKING:
    from matplotlib.figure import Figure  # slow to import, and needed only at the end

TEXTS = 6  # texts of the picture, each of another class
WORDS = 60  # most words of such a text
COLUMNS = 92  # characters of a line
LINE = 0.24  # inches between two lines


def has_attention(network: nn.Module) -> bool:
    """Return whether a network weighs words by attention."""
    return getattr(network, "attention", None) is not None and hasattr(network, "read")


class TextPictures(Callback):
    """Draw `attention.png` in the run's folder at the end of a training: a text of each of six classes.

    They are validation texts or, where there are none, training texts. TensorBoard shows it among its images.
    """

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Choose the texts and draw them."""
        data = trainer.datamodule  # type: ignore[attr-defined]
        if not trainer.is_global_zero or not hasattr(data, "read_words"):
            return
        split = "val" if data.read_words("val") else "train"
        texts = data.read_words(split)
        labels = [data.class_names[label] for label in data.examples(split, torch.arange(len(texts))).labels.tolist()]
        chosen = torch.tensor(choose(texts, labels))
        if not len(chosen):
            return
        batch = data.transfer_batch_to_device(data.examples(split, chosen), pl_module.device, 0)
        with evaluation(pl_module):
            predicted = pl_module.predict_step(batch, 0)
        if not predicted["probability"].isfinite().all():  # the training has diverged
            return
        found = [data.class_names[place] for place in predicted["probability"].argmax(1).tolist()]
        titles = [
            label if label == name else f"{label}, taken for {name}"
            for label, name in zip((labels[number] for number in chosen.tolist()), found, strict=True)
        ]
        figure = draw_texts([texts[number] for number in chosen.tolist()], predicted["attention"].cpu(), titles)
        for logger in trainer.loggers:
            if isinstance(logger, RunTensorBoard):
                with warnings.catch_warnings():
                    warnings.filterwarnings("ignore", "Glyph")  # a letter that matplotlib's font lacks is an empty box
                    figure.savefig(Path(logger.log_dir) / "attention.png", dpi=120)
                    logger.experiment.add_figure("views/attention", figure, trainer.global_step, close=False)


def choose(texts: Sequence[Sequence[str]], labels: Sequence[str]) -> list[int]:
    """Return the numbers of a text of each of the most frequent classes: the longest one that is short enough."""
    frequent = sorted(set(labels), key=lambda label: (-labels.count(label), label))[:TEXTS]
    chosen = []
    for label in frequent:
        own = [number for number, text in enumerate(texts) if labels[number] == label and 0 < len(text) <= WORDS]
        if own:
            chosen.append(max(own, key=lambda number: len(texts[number])))
    return chosen


def draw_texts(texts: Sequence[Sequence[str]], attention: Tensor, titles: Sequence[str]) -> Figure:
    """Draw texts in lines. The stronger the colour of a word, the larger its weight among those of its text.

    Args:
        texts: the words of each text.
        attention: weights of the words [B, T].
        titles: the line above each text.
    """
    from matplotlib.figure import Figure

    rows: list[list[tuple[int, str, float | None]]] = []  # of each line: column, word, shade; None for a title
    for words, weights, title in zip(texts, attention.tolist(), titles, strict=True):
        rows += [[(0, title, None)], []]
        column = 0
        for word, strength in zip(words, shades(weights[: len(words)]), strict=True):
            short = word[: COLUMNS - 1]
            if column + len(short) > COLUMNS:
                rows.append([])
                column = 0
            rows[-1].append((column, short, strength))
            column += len(short) + 1
        rows.append([])
    height = LINE * len(rows)
    figure = Figure(figsize=(8.4, height + 0.2))
    plot = figure.add_axes((0.02, 0, 0.96, 1))
    plot.set(xlim=(0, COLUMNS), ylim=(len(rows), -0.8))
    plot.axis("off")
    font: dict[str, Any] = {"family": "monospace", "fontsize": 10, "va": "center"}
    for line, row in enumerate(rows):
        for column, word, shade in row:
            if shade is None:
                plot.text(column, line, word, weight="bold", **font)
                continue
            plot.barh(line, len(word), 0.9, column, color=colour(0), alpha=STRONGEST * shade, linewidth=0)
            plot.text(column, line, word, color="black", **font)
    return figure
