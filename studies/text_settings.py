"""The search for the settings of the text classifiers, by the accuracy on validation texts alone.

    python -m studies.text_settings --out FOLDER [--classifiers hybrid …] [--names R8 …]

text_settings.yaml lists the settings that are tried for each classifier. They are the same for all sets of texts, and a
setting is judged by its mean accuracy over the sets. All are trained with one seed, the two best also with a second
one; the best mean over both is chosen. No result has one of these seeds. Each seed holds out other validation texts, a
tenth of the training texts. The weights at the end of the training are judged, without a choice among epochs. The test
texts are not read: graph and vocabulary are those of the training texts.
"""

import statistics
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from pytorch_lightning import LightningDataModule, Trainer

from datamodules.errors import DataError
from datamodules.text_files import PUBLISHED
from lightning_modules.cli.settings import TrainCLI
from lightning_modules.errors import UserError, print_error
from lightning_modules.files import write_whole
from studies.analysis import analysis_parser, markdown_table, prepare_folder, write_csv, write_summary

FILE = Path(__file__).with_name("text_settings.yaml")
FIRST_SEED, SECOND_SEED = 100, 101
FINALISTS = 2  # settings that are trained with the second seed too
TURNED_OFF = ("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary")  # options of Trainer
# Attributes of LabelledTexts: data modules with equal inputs share what is computed from them.
INPUTS = ("dataset", "split_seed", "min_count", "max_words", "window", "neighbours")
COMPUTED = ("texts", "class_names", "numbers", "edges", "idf", "_encoded", "_labels")


class Tried(NamedTuple):
    """A setting of a classifier, and its accuracies as fractions by set of texts, a value for each seed."""

    classifier: str
    setting: dict[str, Any]
    accuracies: dict[str, list[float]]

    @property
    def mean(self) -> float:
        """Mean over the sets of texts of the mean over the seeds."""
        return statistics.fmean(statistics.fmean(values) for values in self.accuracies.values())

    @property
    def seeds(self) -> int:
        """Number of seeds."""
        return min(map(len, self.accuracies.values()))


class Search:
    """Trains classifiers and judges them by validation texts. Those of one set and seed share the graph of words.

    Args:
        names: the sets of texts.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self.names = names
        self._first: dict[tuple[Any, ...], LightningDataModule] = {}  # by their inputs, the first data module

    def choose(self, classifier: str, settings: Sequence[Mapping[str, Any]]) -> list[Tried]:
        """Try the settings of a classifier; return them all, the chosen one first."""
        tried = [Tried(classifier, dict(setting), {name: [] for name in self.names}) for setting in settings]
        for each in tried:
            self._train(each, FIRST_SEED)
        tried.sort(key=lambda each: each.mean, reverse=True)
        for each in tried[:FINALISTS] if len(tried) > 1 else []:
            self._train(each, SECOND_SEED)
        tried[:FINALISTS] = sorted(tried[:FINALISTS], key=lambda each: each.mean, reverse=True)
        return tried

    def accuracy(self, words: Sequence[str]) -> float:
        """Train a classifier and return its accuracy on the validation texts, as a fraction.

        Args:
            words: a command line of train.py.
        """
        cli = TrainCLI([*words])
        cli.build(self._share)
        length = {name: cli.config.trainer[name] for name in ("max_epochs", "max_steps")}
        options: dict[str, Any] = dict.fromkeys(TURNED_OFF, False) | {"accelerator": "cpu"}
        Trainer(limit_val_batches=0, **length, **options).fit(cli.model, cli.datamodule)
        return float(Trainer(**options).validate(cli.model, cli.datamodule, verbose=False)[0]["val/accuracy"])

    def _train(self, tried: Tried, seed: int) -> None:
        for name in self.names:
            setting = tried.setting | {"data.name": name, "seed_everything": seed, "data.split_seed": seed}
            value = self.accuracy([word for key, value in setting.items() for word in (f"--{key}", str(value))])
            tried.accuracies[name].append(value)
            print(f"{tried.classifier}: {shown(tried.setting)}; {name}, seed {seed}: {100 * value:.2f} %", flush=True)

    def _share(self, data: LightningDataModule) -> None:
        """Give a LabelledTexts what an earlier one with equal inputs has computed."""
        first = self._first.setdefault(tuple(getattr(data, name) for name in INPUTS), data)
        vars(data).update({name: value for name, value in vars(first).items() if name in COMPUTED})


def shown(setting: Mapping[str, Any]) -> str:
    """Return a setting as text, without its config."""
    return ", ".join(f"{key.split('.')[-1]} {value}" for key, value in setting.items() if key != "config")


def columns(found: Sequence[Tried]) -> dict[str, list[Any]]:
    """Return what was found as columns: mean accuracies in %, and whether a setting was chosen."""
    chosen = {each.classifier: each for each in reversed(found)}
    names = list(found[0].accuracies)
    return {
        "classifier": [each.classifier for each in found],
        "settings": [shown(each.setting) for each in found],
        **{name: [100 * statistics.fmean(each.accuracies[name]) for each in found] for name in names},
        "mean": [100 * each.mean for each in found],
        "seeds": [each.seeds for each in found],
        "chosen": ["yes" if each is chosen[each.classifier] else "" for each in found],
    }


def main(arguments: list[str] | None = None) -> int:
    """Carry out the command line; return the exit status."""
    settings = yaml.safe_load(FILE.read_text(encoding="utf-8"))
    parser = analysis_parser("text_settings", __doc__)
    parser.add_argument("--classifiers", nargs="+", choices=settings, default=[*settings])
    parser.add_argument("--names", nargs="+", choices=PUBLISHED, default=[*PUBLISHED], help="the sets of texts")
    options = parser.parse_args(arguments)
    try:
        prepare_folder(options.out)
        search = Search(options.names)
        found = [each for name in options.classifiers for each in search.choose(name, settings[name])]
    except (UserError, DataError) as error:
        return print_error("studies.text_settings", error)
    made = columns(found)
    write_csv(options.out / "text_settings.csv", made)
    cells = {name: [f"{x:.2f}" if isinstance(x, float) else x for x in column] for name, column in made.items()}
    rows = [dict(zip(cells, row, strict=True)) for row in zip(*cells.values(), strict=True)]
    write_whole(options.out / "text_settings.md", markdown_table(rows) + "\n")
    write_summary(options.out, {f"{each.classifier}/accuracy": each.mean for each in reversed(found)})
    return 0


if __name__ == "__main__":
    sys.exit(main())
