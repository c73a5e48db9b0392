"""A results folder: what finished runs and analyses have found, stored by claim.

    data/<claim id>.json   the command, and for each seed summary.json with what metrics.csv adds to it
    data/<claim id>.csv    thinned training curves, where a figure draws them
    data/NAME.csv, .md     what the analysis NAME has written; its pictures are beside the page
    README.md              the page made of all this (page.py)

docs/results is such a folder; `python study.py --only …` makes another, runs/study/results.
"""

import hashlib
import json
import shutil
import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lightning_modules.commands import command_line
from lightning_modules.errors import UserError
from lightning_modules.files import write_whole
from lightning_modules.run_files import LAST_STEPS, curve, read_metrics, read_summary
from studies.claims import Claim, option_words
from studies.figures import FROM_RUNS, tags_drawn
from studies.solving import plateau, reached
from studies.stored_curves import thinned, write_curves

PUBLISHED_FOLDER = Path(__file__).resolve().parents[1] / "docs" / "results"  # of the project itself


@dataclass(frozen=True)
class Result:
    """The stored result of a claim.

    Args:
        claim: the claim's id.
        command: what makes it again.
        runs: for each run its `seed` (None for an analysis) and `summary`.
        quick: whether the runs were shortened, so that they show nothing about the claim.
        files: what an analysis has written, and pictures of runs: SHA-256 by name.
    """

    claim: str
    command: str
    runs: list[dict[str, Any]]
    quick: bool
    files: dict[str, str]

    @property
    def seeds(self) -> list[int]:
        """The seeds of the runs; none for an analysis."""
        return [run["seed"] for run in self.runs if run["seed"] is not None]

    def numbers(self, name: str) -> list[float | None]:
        """Return a number of every run, None where it is missing."""
        return [run["summary"].get(name) for run in self.runs]


def command(claim: Claim) -> str:
    """Return the command that makes a claim's runs, or its analysis, again."""
    if claim.runs is None:
        assert claim.analysis is not None
        runs = ["--runs", "FOLDER", "…"] if claim.analysis.needs else []
        module = command_line("python", "-m", claim.analysis.module, *claim.analysis.arguments)
        return " ".join([module, "--out FOLDER", *runs])
    seeds = [str(seed) for seed in claim.runs.seeds]
    words = ["--config", claim.runs.config, "--seeds", *seeds, *option_words(claim.runs.overrides)]
    return command_line("python", "study.py", *words)


def facts(run: Path) -> dict[str, Any]:
    """Return summary.json of a finished run, and what its metrics.csv adds.

    These are the last value of every `val/…` tag, and `std_over_iterations`: the standard deviation of the primary
    metric over the last 1000 iterations. Where accuracy is measured in training only, as in the toy tasks, also
    `reached`, the first iteration at which its mean over 50 iterations is 99.9 %, and the accuracy of the `plateau`.

    Raises:
        UserError: if one of the files is damaged.
    """
    found = read_summary(run)
    rows = read_metrics(run / "metrics.csv")
    for tag in sorted({tag for row in rows for tag in row if tag.startswith("val/")}):
        found[tag] = curve(rows, tag)[1][-1]
    values = curve(rows, f"train/{found.get('primary_metric', 'accuracy')}")[1]
    if values:
        found["std_over_iterations"] = statistics.pstdev(values[-LAST_STEPS:])
    if found.get("primary_metric") == "accuracy" and not any(name.startswith(("val/", "test/")) for name in found):
        found |= {"reached": reached(values), "plateau": plateau(values)}
    return found


def store_runs(out: Path, claim: Claim, folders: Mapping[int, Path], quick: bool = False) -> None:
    """Store finished runs of a claim, and the curves of those that a figure draws.

    Runs of other seeds that the folder has already are kept, if the same command made them.

    Args:
        out: the results folder.
        claim: the claim.
        folders: the folder of each finished run by its seed.
        quick: whether the runs were shortened.

    Raises:
        UserError: if a run's files are damaged, the folder cannot be written, or a quick run would replace a result.
    """
    runs = {seed: {"seed": seed, "summary": facts(folder)} for seed, folder in folders.items()}
    earlier = _earlier(out, claim, quick)
    if earlier is not None and (earlier.command, earlier.quick) == (command(claim), quick):
        runs = {run["seed"]: run for run in earlier.runs} | runs
    known = claim.runs.seeds if claim.runs is not None else []
    ordered = [runs[seed] for seed in known if seed in runs]
    data, files = _data_folder(out), {}
    for name, (drawn, picture) in FROM_RUNS.items():
        if drawn == claim.id and (first := folders.get(known[0])) and (first / picture).is_file():
            shutil.copyfile(first / picture, out / f"{name}.png")
            files[f"{name}.png"] = hash_of(out / f"{name}.png")
    result = Result(claim.id, command(claim), ordered, quick, files)
    if tags := tags_drawn(claim.id):
        write_curves(data / f"{claim.id}.csv", thinned(folders, tags), result.seeds)
    _write(data, result)


def store_analysis(out: Path, claim: Claim, folder: Path, quick: bool = False) -> None:
    """Store what an analysis has found for a claim, and the files that it has written.

    Args:
        out: the results folder.
        claim: the claim.
        folder: the folder of the analysis.
        quick: whether it was shortened.

    Raises:
        UserError: if its summary.json cannot be read, the folder cannot be written, or it would replace a result by
            that of a quick run.
    """
    _earlier(out, claim, quick)
    data, files = _data_folder(out), {}
    for path in sorted(folder.iterdir()):
        if path.suffix in (".csv", ".md", ".png"):
            shutil.copyfile(path, (out if path.suffix == ".png" else data) / path.name)
            files[path.name] = hash_of(path)
    run = {"seed": None, "summary": _read_json(folder / "summary.json")}
    _write(data, Result(claim.id, command(claim), [run], quick, files))


def _earlier(out: Path, claim: Claim, quick: bool) -> Result | None:
    """Return what a results folder has of a claim.

    Raises:
        UserError: if a quick run would replace it.
    """
    found = read_results(out).get(claim.id)
    if quick and found is not None and not found.quick:
        raise UserError(f"{out} has results of whole runs; give a quick study another --out", status=1)
    return found


def read_results(out: Path) -> dict[str, Result]:
    """Return the stored results of a folder by the ids of their claims.

    Raises:
        UserError: if a file is damaged.
    """
    found = {}
    for path in sorted((out / "data").glob("*.json")):
        content = _read_json(path)
        try:
            found[path.stem] = Result(**content)
            _check(found[path.stem])
        except TypeError as error:
            raise UserError(f"{path} is damaged ({error}); remove it and run the study again") from error
    return found


def _check(result: Result) -> None:
    """Raise TypeError if the runs or files of a stored result are not what Result says."""
    if not isinstance(result.runs, list) or not isinstance(result.files, dict):
        raise TypeError("its runs are no list, or its files no names with values")
    for run in result.runs:
        if not isinstance(run, dict) or "seed" not in run or not isinstance(run.get("summary"), dict):
            raise TypeError("a run has no seed or no summary")


def hash_of(path: Path) -> str:
    """Return the SHA-256 of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _data_folder(out: Path) -> Path:
    try:
        (out / "data").mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot make the folder {out / 'data'}: {error.strerror}", status=1) from error
    return out / "data"


def _write(data: Path, result: Result) -> None:
    write_whole(data / f"{result.claim}.json", json.dumps(vars(result), indent=1) + "\n")


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        problem = "" if isinstance(content, dict) else "it holds no names with values"
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        problem = " ".join(str(error).split())
    if problem:
        raise UserError(f"{path} is damaged ({problem}); remove it and run the study again")
    return content
