"""`--stage predict`: what a checkpoint says about examples, as a CSV file and, for texts, as a page."""

import csv
import io
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning import LightningDataModule, LightningModule
from pytorch_lightning.utilities.model_helpers import is_overridden
from torch import Tensor

from lightning_modules.attention_page import attention_page
from lightning_modules.errors import UserError
from lightning_modules.files import write_whole

SHOWN = 10  # rows on the terminal
WIDTH = 60  # characters of a value there
PAGE = ".html"  # extension of the page of texts, which has the name of the table


class Record(dict[str, Any]):
    """What a checkpoint holds to read new examples. A part that it lacks is a user's mistake, not a KeyError.

    Args:
        checkpoint: its file.
        parts: what it holds, by name.
    """

    def __init__(self, checkpoint: Path, parts: dict[str, Any]) -> None:
        super().__init__(parts)
        self.checkpoint = checkpoint

    def __missing__(self, name: str) -> Any:
        """Raise the error that names the part.

        Raises:
            UserError: always.
        """
        raise UserError(f"{self.checkpoint} cannot read new examples: it has no record of {name!r}")


class PredictStage:
    """What `--stage predict` does before and after the predictions: it reads the examples and writes the table.

    Args:
        checkpoint: the file.
        content: its content.
        examples: a file of new examples; None for those that the data module has.
        predictions: the CSV file to write; None for predictions.csv beside the checkpoint.

    Raises:
        UserError: if the file to write is in no folder, or the page would replace it.
    """

    def __init__(
        self, checkpoint: Path | None, content: dict[str, Any], examples: str | None, predictions: str | None
    ) -> None:
        assert checkpoint is not None
        self.checkpoint, self.content, self.examples = checkpoint, content, examples
        self.target = Path(predictions or checkpoint.with_name("predictions.csv"))
        if self.target.is_dir() or not self.target.parent.is_dir():
            problem = "is a folder" if self.target.is_dir() else f"is in no folder: there is no {self.target.parent}"
            raise UserError(f"--predictions: {self.target} {problem}")
        if self.target.suffix == PAGE:
            raise UserError(f"--predictions names the table, a CSV file; the page takes its name with {PAGE}")

    def read_examples(self, data: LightningDataModule) -> None:
        """Let a data module read the new examples, if there are any, with what the checkpoint holds for it.

        Raises:
            UserError: if the checkpoint is of another data module, or from before checkpoints could read examples.
        """
        if self.examples is None:
            return
        kind, state = type(data).__qualname__, self.content.get(type(data).__qualname__)
        if not isinstance(state, dict):
            raise UserError(f"{self.checkpoint} was not trained on a {kind}; name its own config with --config")
        if not hasattr(data, "read_new"):
            raise UserError(f"{kind} reads no new examples; leave --examples out")
        data.read_new(Path(self.examples), Record(self.checkpoint, state.get("reader", {})))

    def check(self, model: LightningModule, data: LightningDataModule) -> None:
        """Check that the model predicts and that there are examples.

        Raises:
            UserError: if not.
        """
        if not is_overridden("predict_step", model, LightningModule):
            other = "; generate.py continues texts" if "language_model" in self.content else ""
            raise UserError(f"{type(model).__name__} has no --stage predict{other}")
        if not is_overridden("predict_dataloader", data, LightningDataModule):
            raise UserError(f"{type(data).__name__} has no examples to predict")
        if self.examples is None and not getattr(data, "predictable", True):
            raise UserError(f"{type(data).__name__} has no test split; give new examples with --examples FILE")

    def write(self, outputs: list[Any], data: LightningDataModule) -> None:
        """Write the predictions of all batches, show the first ones, and say where they are.

        Raises:
            UserError: if there is no batch.
        """
        if not outputs:
            raise UserError("no example was predicted: --trainer.limit_predict_batches leaves none", status=1)
        joined = {name: [row for output in outputs for row in output[name].float().cpu()] for name in outputs[0]}
        count = len(next(iter(joined.values())))  # fewer than all with --trainer.limit_predict_batches
        columns = data.columns() if hasattr(data, "columns") else {}
        attention, table = joined.pop("attention", None), {name: values[:count] for name, values in columns.items()}
        if "probability" in joined:
            table |= by_class(torch.stack(joined.pop("probability")), getattr(data, "class_names", None))
        table |= {name: [f"{value:.6g}" for value in values] for name, values in joined.items()}
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(table)
        writer.writerows(zip(*table.values(), strict=True))
        write_whole(self.target, text.getvalue())
        print("\n".join(preview(table)), flush=True)
        print(f"{count} prediction{'s' if count != 1 else ''}: {self.target}", flush=True)
        if attention is not None:
            page = self.target.with_suffix(PAGE)
            words, known = data.read_words(data.predicted)[:count], table.get("class")  # type: ignore[attr-defined]
            write_whole(page, attention_page(words, attention, table["predicted"], table["probability"], known))
            print(f"the words, coloured by their attention: {page}", flush=True)


def by_class(probabilities: Tensor, names: Any) -> dict[str, list[str]]:
    """Return the columns of probabilities [N, C]: the likeliest class, its probability, and that of every class."""
    names = [str(name) for name in (names or range(probabilities.shape[1]))]
    best, places = probabilities.max(1)
    every = {
        f"p({name})": [f"{p:.6g}" for p in column] for name, column in zip(names, probabilities.T.tolist(), strict=True)
    }
    return {
        "predicted": [names[place] for place in places.tolist()],
        "probability": [f"{p:.6g}" for p in best.tolist()],
        **every,
    }


def preview(table: dict[str, list[str]]) -> list[str]:
    """Return the first rows of a table as aligned lines, without the probability of every class."""
    shown = {name: [cut(value) for value in values[:SHOWN]] for name, values in table.items() if name[:2] != "p("}
    widths = {name: max(map(len, [name, *values])) for name, values in shown.items()}
    rows = [list(shown), *map(list, zip(*shown.values(), strict=True))]
    lines = [
        " " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths.values(), strict=True)) for row in rows
    ]
    return [line.rstrip() for line in lines]


def cut(value: str) -> str:
    """Return a value as one short printable line."""
    line = "".join(character if character.isprintable() else " " for character in value)
    return line if len(line) <= WIDTH else line[: WIDTH - 1] + "…"
