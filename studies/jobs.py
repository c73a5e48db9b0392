"""What a study carries out: runs of train.py, and analyses, which read finished runs. Which of them a claim needs."""

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from lightning_modules.cli.run_folder import is_running
from lightning_modules.files import make_folder, write_whole
from studies.claims import Analysis, Claim, Runs, option_words
from studies.runs import StudyRun


class Job(Protocol):
    """A run or an analysis, as the runner sees it. `str(job)` names it.

    Attributes:
        minutes: CPU minutes that it takes, if known.
    """

    minutes: float | None

    @property
    def needs(self) -> Sequence["Job"]:
        """The jobs whose results it reads."""

    @property
    def steps(self) -> int | None:
        """Number of its training steps, if known; None for an analysis."""

    @property
    def log(self) -> str:
        """Name of the file for its output."""

    @property
    def locked(self) -> Path | None:
        """The folder that is locked while it runs; None for train.py, which locks its own."""

    def finished(self) -> Path | None:
        """Return its folder if it has finished."""

    def in_use(self) -> Path | None:
        """Return its folder if a process is carrying it out now."""

    def command(self) -> list[str]:
        """Return the words of the command that carries it out."""


@dataclass(eq=False)
class AnalysisJob:
    """An analysis, which several claims may name: `python -m MODULE --out FOLDER [--runs FOLDER …] [arguments]`.

    Args:
        name: the id of the first claim that names it.
        module: import path of the module.
        arguments: its own options.
        needs: the runs whose folders it reads.
        folder: where it writes; its summary.json comes last.
        minutes: CPU minutes that it takes.
    """

    name: str
    module: str
    arguments: list[str]
    needs: list[StudyRun]
    folder: Path
    minutes: float | None

    def __str__(self) -> str:
        return self.name

    @property
    def steps(self) -> None:
        """None: an analysis does not train."""
        return None

    @property
    def log(self) -> str:
        """Name of the file for its output."""
        return f"{self.name}.log"

    @property
    def locked(self) -> Path:
        """The folder that is locked while it runs."""
        return self.folder

    def finished(self) -> Path | None:
        """Return its folder if it has finished, with the same arguments and the same runs."""
        try:
            noted = json.loads((self.folder / "command.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        return self.folder if noted == self._words() and (self.folder / "summary.json").is_file() else None

    def in_use(self) -> Path | None:
        """Return its folder if a process is carrying it out now."""
        return self.folder if is_running(self.folder) else None

    def command(self) -> list[str]:
        """Note the command in its folder, so that `finished` can compare it, and return it.

        -P: another checkout of this project may be in the current folder, from which `python -m` imports first.

        Raises:
            UserError: if that cannot be written.
        """
        make_folder(self.folder)
        (self.folder / "summary.json").unlink(missing_ok=True)
        write_whole(self.folder / "command.json", json.dumps(self._words()) + "\n")
        return [sys.executable, "-P", "-m", self.module, "--out", str(self.folder), *self._words()[1:]]

    def _words(self) -> list[str]:
        folders = [str(run.finished()) for run in self.needs]
        return [self.module, *(["--runs", *folders] if folders else []), *self.arguments]


@dataclass
class StudyJobs:
    """The jobs of claims. Claims with the same runs, or the same analysis, share them.

    Args:
        known: all claims by their ids.
        root: folder of the study, runs/study.
        quick: whether the jobs are the short ones, with the first seed only.
        download: whether named data sets may be downloaded.
    """

    known: dict[str, Claim]
    root: Path
    quick: bool = False
    download: bool = False
    _runs: dict[tuple[str, int], StudyRun] = field(default_factory=dict)
    _analyses: dict[str, AnalysisJob] = field(default_factory=dict)

    def of(self, claim: Claim) -> list[StudyRun] | list[AnalysisJob]:
        """Return the runs of a claim, one for each seed, or its analysis.

        Raises:
            UserError: if train.py would refuse the runs.
        """
        if claim.runs is not None:
            return self._runs_of(claim, claim.runs)
        assert claim.analysis is not None  # checked by claims.load
        return [self._analysis_of(claim, claim.analysis)]

    def all_of(self, claims: list[Claim]) -> list[Job]:
        """Return all jobs of these claims, each once, the needed runs before the analyses."""
        jobs: dict[Job, None] = {}
        for claim in claims:
            for job in self.of(claim):
                jobs |= dict.fromkeys([*job.needs, job])
        return list(jobs)

    def _analysis_of(self, claim: Claim, analysis: Analysis) -> AnalysisJob:
        arguments = self._arguments(claim, analysis)
        # The first claim with the same analysis names it, whichever claims are chosen.
        name = next(
            other.id
            for other in self.known.values()
            if other.analysis
            and (other.analysis.module, other.analysis.needs) == (analysis.module, analysis.needs)
            and self._arguments(other, other.analysis) == arguments
        )
        if name not in self._analyses:
            needs = [run for need in analysis.needs for run in self.of(self.known[need]) if isinstance(run, StudyRun)]
            folder = self.root / "analyses" / name
            self._analyses[name] = AnalysisJob(name, analysis.module, arguments, needs, folder, self._minutes(claim))
        return self._analyses[name]

    def _arguments(self, claim: Claim, analysis: Analysis) -> list[str]:
        """Return the options of a claim's analysis."""
        return [*analysis.arguments, *(claim.quick if self.quick and isinstance(claim.quick, list) else [])]

    def _runs_of(self, claim: Claim, runs: Runs) -> list[StudyRun]:
        settings = self._settings(claim, runs)
        # The first claim with the same runs names them, whichever claims are chosen.
        name = next(
            other.id
            for other in self.known.values()
            if other.runs and other.runs.config == runs.config and self._settings(other, other.runs) == settings
        )
        words = option_words(settings)
        if self.quick:  # beside the real runs it would hide those that can be continued
            words += ["--trainer.default_root_dir", str(self.root)]
        chosen: list[StudyRun] = []
        for seed in runs.seeds[:1] if self.quick else runs.seeds:
            if (name, seed) not in self._runs:
                run = chosen[0].with_seed(seed) if chosen else self._first_run(claim, runs, name, words)
                # Another claim may write the same settings in other words.
                same = (other for other in self._runs.values() if other.same_as(run))
                self._runs[name, seed] = next(same, run)
            chosen.append(self._runs[name, seed])
        return chosen

    def _first_run(self, claim: Claim, runs: Runs, name: str, words: list[str]) -> StudyRun:
        minutes = self._minutes(claim)
        each = None if minutes is None else minutes / len(runs.seeds)
        run = StudyRun([name], runs.seeds[0], ["--config", runs.config, *words], each)
        if self.download and "download" in run.settings["data"].get("init_args", {}):
            run.arguments += ["--data.download", "true"]
        return run

    def _minutes(self, claim: Claim) -> float | None:
        """Return the CPU minutes of a claim's jobs; those of short ones are not known."""
        return None if self.quick else claim.minutes

    def _settings(self, claim: Claim, runs: Runs) -> dict[str, Any]:
        """Return the settings of a claim's runs that differ from the config."""
        return runs.overrides | (claim.quick if self.quick and isinstance(claim.quick, dict) else {})
