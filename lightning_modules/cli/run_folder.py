"""Run folders, runs/<config>/version_<n>/: making, locking, removing and finding them."""

import contextlib
import shutil
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml
from filelock import FileLock, Timeout

from lightning_modules.dotted_keys import flat
from lightning_modules.errors import UserError

# Settings that may differ between a run and its continuation: its length, what it shows and how often it saves.
MAY_DIFFER = (
    "ckpt_path", "stage", "checkpoints", "solved", "trainer.max_steps", "trainer.max_epochs", "trainer.max_time",
    "trainer.enable_progress_bar", "trainer.log_every_n_steps",
)  # fmt: skip
DOWNLOAD = "data.init_args.download"  # may always differ: it does not change the data


def new_run(folder: Path) -> Path:
    """Create the next free `version_<n>` in `folder` and return it. Two processes never get the same one.

    Raises:
        UserError: if the folder cannot be created, for example because a file is in its place.
    """
    number = max((version_number(path) + 1 for path in folder.glob("version_*")), default=0)
    while True:
        run = folder / f"version_{number}"
        try:
            run.mkdir(parents=True)
        except FileExistsError:
            if not run.is_dir():
                raise UserError(f"{run} must be a folder, and a file is in its place") from None
            number += 1
        except NotADirectoryError:
            parent = next(parent for parent in run.parents if parent.exists())
            raise UserError(f"{parent} must be a folder for the runs, and a file is in its place") from None
        except OSError as error:
            raise UserError(f"cannot make the run's folder {run}: {error.strerror}") from error
        else:
            return run


@contextlib.contextmanager
def running(run: Path) -> Iterator[None]:
    """Hold the lock of a run's folder.

    Raises:
        UserError: if another process holds it.
    """
    try:
        with _locked(run, timeout=1):  # `is_running` holds the lock for a moment
            yield
    except Timeout:
        raise UserError(f"{run} is still running") from None


def is_running(run: Path) -> bool:
    """Return whether a process is running a run."""
    try:
        with _locked(run, timeout=0) if (run / ".lock").exists() else contextlib.nullcontext():
            return False
    except Timeout:
        return True


@contextlib.contextmanager
def _locked(run: Path, timeout: float) -> Iterator[None]:
    """Hold the lock file. The system releases it when the process ends, however it ends."""
    with FileLock(run / ".lock", timeout=timeout):
        try:
            yield
        finally:
            with contextlib.suppress(OSError):  # Windows does not remove an open file; FileLock does it there
                (run / ".lock").unlink()


def drop_run(run: Path) -> None:
    """Remove the folder of a run that could not start, and the folders above it that are then empty."""
    shutil.rmtree(run)
    for folder in (run.parent, run.parent.parent):
        with contextlib.suppress(OSError):
            folder.rmdir()


def version_number(run: Path) -> int:
    """Return n of `version_<n>`, −1 for another name."""
    number = run.name.removeprefix("version_")
    return int(number) if number.isdecimal() else -1


def find_runs(folder: Path, config: dict[str, Any], may_differ: tuple[str, ...] = MAY_DIFFER) -> tuple[list[Path], str]:
    """Return the runs in `folder` with this config, newest first, and why the newest of the others does not match.

    Args:
        folder: runs/<config>.
        config: the settings of the command.
        may_differ: dotted keys that may differ.

    Raises:
        UserError: if `folder` is a file.
    """
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder} must be a folder for the runs, and a file is in its place")
    matching, reason = [], ""
    for run in sorted(folder.glob("version_*"), key=version_number, reverse=True):
        try:
            stored = _stored(run / "config.yaml", (run / "config.yaml").stat().st_mtime_ns)
            if not isinstance(stored, dict):
                raise ValueError("a config is `key: value` lines")
            differing = _differences(stored, config, (*may_differ, DOWNLOAD))
        except (OSError, ValueError, yaml.YAMLError, RecursionError):
            reason = reason or f"{run} has no readable config.yaml"
            continue
        if differing:
            more = " …" if len(differing) > 3 else ""
            reason = reason or f"{run} has another config: {', '.join(differing[:3])}{more}"
        else:
            matching.append(run)
    return matching, reason or f"there is no run in {folder}"


@lru_cache(maxsize=10_000)
def _stored(path: Path, modified: int) -> Any:
    """Return the content of a config.yaml; `modified` is when it was written, so that a new content is read again."""
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def find_last(folder: Path, config: dict[str, Any]) -> Path:
    """Return `last.ckpt` of the newest run in `folder` with this config, but for the settings in `MAY_DIFFER`.

    Raises:
        UserError: if there is none; the line names the settings that differ.
    """
    runs, reason = find_runs(folder, config)
    for run in runs:
        if (run / "last.ckpt").is_file():
            return run / "last.ckpt"
    raise UserError(
        f"--ckpt_path last: nothing to continue: {reason if not runs else f'{runs[0]} saved no checkpoint'}"
    )


def _differences(stored: Any, config: dict[str, Any], may_differ: tuple[str, ...]) -> list[str]:
    """Return `key (theirs, here ours)` for every setting in which two configs differ."""
    theirs, ours = flat(stored), flat(config)
    return [
        f"{key} ({theirs.get(key)}, here {ours.get(key)})".replace("init_args.", "")
        for key in sorted(theirs.keys() | ours.keys())
        if theirs.get(key) != ours.get(key)
        and not any(key == name or key.startswith(f"{name}.") for name in may_differ)
    ]
