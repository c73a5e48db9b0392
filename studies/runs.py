"""The runs of a study: every config with every combination of the varied settings and every seed."""

import itertools
import re
import sys
from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lightning_modules.cli.run_folder import find_runs, is_running
from lightning_modules.cli.settings import Seed, parse_settings
from lightning_modules.errors import UserError
from lightning_modules.files import file_name
from lightning_modules.run_files import read_summary

TRAIN = Path(__file__).resolve().parent.parent / "train.py"
NOT_IN_A_STUDY = {  # options of train.py that a study refuses, and the reason
    "--ckpt_path": "interrupted runs continue by themselves",
    "--stage": "every run is trained",
    "--seed_everything": "give --seeds",
    "--print_config": "give it to train.py",
}
# Settings that do not make it another run.
MAY_DIFFER = ("config", "ckpt_path", "stage", "checkpoints", "trainer.enable_progress_bar")


@dataclass(eq=False)
class StudyRun:
    """One training run of a study.

    Args:
        parts: name of its config, and `key=value` for each varied setting.
        seed: its seed.
        arguments: its command line for train.py, without the seed.
        minutes: CPU minutes that it takes on one core, if known.

    Raises:
        UserError: if train.py would refuse the command line.
    """

    parts: list[str]
    seed: int
    arguments: list[str]
    minutes: float | None = None
    folder: Path = field(init=False)
    settings: dict[str, Any] = field(init=False)

    def __post_init__(self) -> None:
        self.folder, self.settings = parse_settings(self.words)

    @property
    def words(self) -> list[str]:
        """Its command line for train.py."""
        return [*self.arguments, "--seed_everything", str(self.seed)]

    def with_seed(self, seed: int) -> "StudyRun":
        """Return the same run with another seed; parsing the command line again would take a tenth of a second.

        Raises:
            UserError: if train.py would refuse the seed.
        """
        try:
            Seed(seed)
        except ValueError as error:
            raise UserError(f"--seeds: {error}") from None
        other = copy(self)
        other.seed, other.settings = seed, self.settings | {"seed_everything": seed}
        return other

    @property
    def setting(self) -> str:
        """The row of the table that this run belongs to."""
        return " ".join(self.parts)

    def __str__(self) -> str:
        return f"{self.setting} seed {self.seed}"

    @property
    def log(self) -> str:
        """Name of the file for the output of its process."""
        return f"{file_name('_'.join(self.parts))}_seed_{self.seed}.log"

    @property
    def needs(self) -> Sequence["StudyRun"]:
        """The jobs whose results it reads: none."""
        return ()

    @property
    def locked(self) -> Path | None:
        """The folder that is locked while it runs: none, since train.py locks its own."""
        return None

    def command(self) -> list[str]:
        """Return the words of the command that starts it, or continues it if it was interrupted."""
        return [sys.executable, str(TRAIN), *self.words, *(["--ckpt_path", "last"] if self.interrupted() else [])]

    @property
    def steps(self) -> int | None:
        """Number of its training steps, if it is not given in epochs."""
        steps = self.settings["trainer"]["max_steps"]
        return steps if isinstance(steps, int) and steps > 0 else None

    def under_way(self) -> Path | None:
        """Return the folder of the newest run with the same settings that has not finished."""
        return next((run for run in self._same() if not (run / "summary.json").exists()), None)

    def same_as(self, other: "StudyRun") -> bool:
        """Return whether a run with these settings would be taken for the other."""
        ours, theirs = (
            {key: value for key, value in run.settings.items() if key not in MAY_DIFFER} for run in (self, other)
        )
        return self.folder == other.folder and ours == theirs

    def finished(self) -> Path | None:
        """Return the folder of the newest finished run with the same settings.

        Raises:
            UserError: if its summary.json is damaged.
        """
        run = next((run for run in self._same() if (run / "summary.json").is_file()), None)
        if run is not None:
            read_summary(run)
        return run

    def in_use(self) -> Path | None:
        """Return the folder of a run with the same settings that a process is running now."""
        return next(filter(is_running, self._same()), None)

    def interrupted(self) -> bool:
        """Return whether `--ckpt_path last` would continue an unfinished run with the same settings."""
        alike, _ = find_runs(self.folder, self.settings)
        saved = [run for run in alike if (run / "last.ckpt").is_file()]
        return bool(saved) and saved[0] in self._same() and not (saved[0] / "summary.json").exists()

    def _same(self) -> list[Path]:
        return find_runs(self.folder, self.settings, may_differ=MAY_DIFFER)[0]


def plan(configs: list[str], seeds: list[int], vary: list[list[str]], overrides: list[str]) -> list[StudyRun]:
    """Return the runs of a study: every config, with every combination of the varied settings, with every seed.

    Args:
        configs: config files, as train.py takes them.
        seeds: values of seed_everything.
        vary: [key, value, value, …] for each varied setting.
        overrides: further arguments for train.py, the same for all runs.

    Raises:
        UserError: if train.py would refuse one of the runs.
    """
    choices = [[(key, value) for value in values] for key, *values in vary]
    for word in overrides:
        option = word.partition("=")[0]
        if reason := NOT_IN_A_STUDY.get(option):
            raise UserError(f"{option} cannot be used in a study: {reason}")
    if any(not values for values in choices):
        raise UserError("--vary takes a key and at least one value: --vary data.length 10 20")
    names = {key: short_names(values) for key, *values in vary}
    runs = []
    for config, chosen in itertools.product(configs, itertools.product(*choices)):
        words = [word for key, value in chosen for word in (f"--{key}", value)]
        parts = [Path(config).stem, *(f"{key}={names[key][value]}" for key, value in chosen)]
        first = StudyRun(parts, seeds[0], ["--config", config, *overrides, *words])
        runs += [first, *(first.with_seed(seed) for seed in dict.fromkeys(seeds[1:]) if seed != seeds[0])]
    return runs


def results_folder(runs: list[StudyRun], name: str | None) -> Path:
    """Return runs/study/<name>, the folder for the results of these runs.

    Args:
        runs: the runs of the study.
        name: the folder's name; None takes the names of the configs.
    """
    name = name or file_name("+".join(dict.fromkeys(run.folder.name for run in runs)))
    return runs[0].folder.parent / "study" / name


def short_names(values: list[str]) -> dict[str, str]:
    """Return the name of each value in a table: a class by the last part of its import path, if that is unambiguous."""
    short = {
        value: value.rpartition(".")[2] if re.fullmatch(r"[A-Za-z_]\w*(\.\w+)+", value) else value for value in values
    }
    return short if len(set(short.values())) == len(short) else {value: value for value in values}
