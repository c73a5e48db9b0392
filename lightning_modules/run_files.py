"""Reads the files that a run leaves: metrics.csv and summary.json. Imports neither torch nor Lightning."""

import csv
import json
from pathlib import Path
from typing import Any

from lightning_modules.errors import UserError

LAST_STEPS = 1000  # of a training; summary.json has means over them


def read_metrics(path: Path) -> list[dict[str, float]]:
    """Return the rows of a metrics.csv, each with the columns that it fills; no rows if there is no file.

    An unfinished last line, left by a killed process, is ignored.

    Raises:
        UserError: if the file cannot be read, or holds anything but numbers.
    """
    if not path.exists():
        return []
    rows = []
    try:
        text = path.read_text()
        for row in csv.DictReader(text[: text.rfind("\n") + 1].splitlines()):
            rows.append({name: float(value) if name != "step" else int(value) for name, value in row.items() if value})
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from error
    except (ValueError, TypeError, csv.Error) as error:
        raise UserError(f"{path} is damaged: {error}") from error
    return rows


def curve(rows: list[dict[str, float]], tag: str) -> tuple[list[int], list[float]]:
    """Return the steps and the values of one tag."""
    points = [(int(row["step"]), row[tag]) for row in rows if tag in row]
    return [step for step, _ in points], [value for _, value in points]


def read_summary(run: Path) -> dict[str, Any]:
    """Return the content of summary.json of a finished run.

    Raises:
        UserError: if the file cannot be read, is cut off, or lacks what a study's table needs.
    """
    path = run / "summary.json"
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
        problem = _lacking(facts)
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        problem = " ".join(str(error).split())
    if problem:
        raise UserError(f"{path} is damaged ({problem}); remove that file and run the same command again")
    return facts


def _lacking(facts: Any) -> str:
    """Return what is wrong with a summary, such as a number that is missing; "" if nothing is."""
    if not isinstance(facts, dict):
        return f"it holds a {type(facts).__name__} instead of names with values"
    primary_metric = facts.get("primary_metric", "accuracy")
    tested = [tag for tag in facts if tag.startswith("test/")]
    nullable = ["steps_per_second", *([] if tested or primary_metric != "accuracy" else ["solved_at"])]
    for name in (*(tested or [primary_metric]), *nullable):
        value = facts.get(name, "missing")
        if not (isinstance(value, int | float) or (value is None and name in nullable)):
            return f"{name} is {value!r}"
    return ""
