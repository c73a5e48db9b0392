"""Finished runs of the text classifiers, sorted by data set, network, fraction of labels and seed."""

from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from lightning_modules.errors import UserError
from lightning_modules.run_files import read_summary
from studies.analysis import settings_of


class Row(NamedTuple):
    """A row of the tables: data set, network, and the fraction of the training texts whose classes are known."""

    data: str
    network: str
    labels: float


def row_of(run: Path) -> Row:
    """Return the row to which a run belongs.

    Raises:
        UserError: if its settings cannot be read, or it is no run of a text classifier on a named set.
    """
    settings = settings_of(run)
    network = "model.init_args.network."
    options = f"{network}init_args."
    if settings.get("data.class_path") != "datamodules.labelled_texts.LabelledTexts":
        raise UserError(f"{run} is no run on labelled texts")
    if settings.get("data.init_args.path") is not None:
        raise UserError(f"{run} has texts of its own; give runs on named sets")
    if str(settings.get(f"{network}class_path")).endswith("BagOfWords"):
        name = "bag of words"
    elif settings[f"{options}graph_layers"] == 0:
        name = "BiLSTM"
    elif settings[f"{options}hidden_size"] == 0:
        name = "graph"
    else:
        name = "hybrid" if settings[f"{options}pooling"] == "attention" else "hybrid without attention"
    if settings["data.init_args.transductive"]:
        name += ", transductive"
    return Row(settings["data.init_args.name"], name, settings["data.init_args.label_fraction"])


def accuracies(runs: Iterable[Path]) -> dict[Row, dict[int, float]]:
    """Return the test accuracy of every run as a fraction, by row and seed.

    Raises:
        UserError: if a run has not finished, is not of a text classifier, or has the row and the seed of another one.
    """
    found: dict[Row, dict[int, float]] = defaultdict(dict)
    for run in runs:
        summary = read_summary(run)
        if "test/accuracy" not in summary:
            raise UserError(f"{run / 'summary.json'} has no test/accuracy")
        row, seed = row_of(run), settings_of(run)["seed_everything"]
        if seed in found[row]:
            raise UserError(f"{run} is a second run of {row.network} on {row.data} with seed {seed}; give one of them")
        found[row][seed] = summary["test/accuracy"]
    return dict(found)
