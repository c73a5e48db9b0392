"""The claims of the study: what is claimed, where it was published, how it is run again, and when it holds."""

import dataclasses
import json
import math
import statistics
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, get_args, get_origin, get_type_hints

import yaml

from lightning_modules.cli.yaml_text import check_yaml
from lightning_modules.errors import UserError, did_you_mean
from lightning_modules.files import file_name

FILE = Path(__file__).with_name("claims.yaml")
Part = Literal["recurrent", "palindromes", "book", "graphs", "texts"]  # in the order of claims.yaml
PARTS: tuple[Part, ...] = get_args(Part)


@dataclass(frozen=True)
class Published:
    """A published value.

    Args:
        value: the value, in the claim's unit.
        source: where it was read: a paper or report, and its table or page.
        std: its standard deviation, in the claim's unit.
    """

    value: float
    source: str
    std: float | None = None


@dataclass(frozen=True)
class Runs:
    """The runs of train.py that a claim needs, one for each seed.

    Args:
        config: a config in configs/.
        seeds: values of seed_everything.
        overrides: settings that differ from the config, by their dotted keys.
    """

    config: str
    seeds: list[int]
    overrides: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Analysis:
    """A module that computes a claim's number: `python -m MODULE --out FOLDER [--runs FOLDER …] [arguments]`.

    Args:
        module: its import path.
        arguments: its own options.
        needs: ids of the claims whose runs it reads.
    """

    module: str
    arguments: list[str] = field(default_factory=list)
    needs: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Bounds:
    """When a claim holds: its value is at least one number, at most another, or between two.

    Args:
        at_least: the lower bound, in the claim's unit.
        at_most: the upper bound.
        between: both.
    """

    at_least: float | None = None
    at_most: float | None = None
    between: tuple[float, float] | None = None

    @property
    def limits(self) -> tuple[float, float]:
        """The smallest and the largest value with which the claim holds."""
        if self.between is not None:
            return self.between
        low, high = self.at_least, self.at_most
        return (float("-inf") if low is None else low), (float("inf") if high is None else high)

    def __str__(self) -> str:
        if self.between is not None:
            low, high = self.between
            return f"{low:g} to {high:g}" if low < high else f"= {low:g}"
        return f"≥ {self.at_least:g}" if self.at_least is not None else f"≤ {self.at_most:g}"


@dataclass(frozen=True)
class Claim:
    """One claim: a row of a table, or a picture.

    Args:
        id: its name, which is also the name of its stored result.
        part: the part of the study it belongs to; `--only` takes it.
        claim: what is claimed, in one sentence.
        metric: a name in summary.json of its runs, or of its analysis.
        holds: the bounds within which the claim holds.
        minutes: about how many CPU minutes all its runs, or its analysis, take; stored runs that have measured it
            replace this estimate (`with_measured_minutes` in verdicts.py).
        shown: where the result is shown, a file or `file#heading`.
        runs: the runs of train.py; either these or an analysis.
        analysis: the module that computes the number.
        published: the published value.
        unit: unit of the values; with "%" the metric is shown times 100.
        quick: what a quick run sets: overrides of the config, or further arguments of an analysis; None: there is none.
        why: why ours differs from the published value, in a sentence or two.
    """

    id: str
    part: Part
    claim: str
    metric: str
    holds: Bounds
    minutes: float
    shown: str
    runs: Runs | None = None
    analysis: Analysis | None = None
    published: Published | None = None
    unit: str = ""
    quick: dict[str, Any] | list[str] | None = None
    why: str = ""

    def value(self, summary: dict[str, Any]) -> float | None:
        """Return the metric from one summary.json in the claim's unit; None if it is missing or null."""
        number = summary.get(self.metric)
        return None if number is None else number * (100 if self.unit == "%" else 1)

    def judge(self, values: list[float]) -> bool:
        """Return whether the claim holds for the mean of these values, one for each run."""
        low, high = self.holds.limits
        return low <= statistics.mean(values) <= high


def option_words(settings: Mapping[str, Any]) -> list[str]:
    """Return settings as words of a command line for train.py: `--key value` for each."""
    return [
        word
        for key, value in settings.items()
        for word in (f"--{key}", value if isinstance(value, str) else json.dumps(value))
    ]


def load(path: Path = FILE) -> list[Claim]:
    """Read and check a file of claims.

    Raises:
        UserError: for a mistake in it; the line names the claim.
    """
    try:
        text = path.read_text(encoding="utf-8")
        check_yaml(text)
        entries = yaml.safe_load(text)
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from error
    except (UserError, ValueError, yaml.YAMLError) as error:
        raise UserError(f"{path.name}: {' '.join(str(error).split())}") from error
    if not isinstance(entries, list):
        raise UserError(f"{path.name} must be a list of claims")
    claims = [_read(entry, f"{path.name}: claim {number}") for number, entry in enumerate(entries, start=1)]
    known = {claim.id: claim for claim in claims}
    for number, claim in enumerate(claims):
        if problem := _problem(claim, known):
            raise UserError(f"{path.name}: {claim.id}: {problem}")
        if claim.id in {earlier.id for earlier in claims[:number]}:
            raise UserError(f"{path.name}: two claims have the id {claim.id}")
    return claims


def _read(entry: Any, place: str) -> Claim:
    """Return one claim, its values checked against the types above."""
    if isinstance(entry, dict) and isinstance(entry.get("id"), str):
        place = f"{place} ({entry['id']})"
    return _build(Claim, entry, place)


def _build(kind: Any, value: Any, place: str) -> Any:
    """Return a value of a YAML file as an object of a type.

    Args:
        kind: a dataclass, or a type of one of the fields above.
        value: the value.
        place: where it stands, for the error.

    Raises:
        UserError: if it is not of this type; the line says where it stands and what is expected there.
    """
    if isinstance(kind, type) and dataclasses.is_dataclass(kind) and isinstance(value, dict):
        fields = {each.name: each for each in dataclasses.fields(kind)}
        missing = dataclasses.MISSING
        required = [name for name, each in fields.items() if each.default is each.default_factory is missing]
        for name in value:
            if name not in fields:
                raise UserError(f"{place}: unknown key {name!r}{did_you_mean(str(name), fields)}")
        if lacking := [name for name in required if name not in value]:
            raise UserError(f"{place}: {', '.join(lacking)} is missing")
        types = get_type_hints(kind)
        return kind(**{name: _build(types[name], part, f"{place}: {name}") for name, part in value.items()})
    origin, inner = get_origin(kind), get_args(kind)
    if origin is UnionType:
        fitting = [each for each in inner if _outer(each) is type(value)]
        return _build(fitting[0] if fitting else inner[0], value, place)
    if origin is tuple and isinstance(value, list) and len(value) == len(inner):
        return tuple(_build(each, part, place) for each, part in zip(inner, value, strict=True))
    if origin is list and isinstance(value, list):
        return [_build(inner[0], part, place) for part in value]
    if origin is Literal and value in inner:
        return value
    if kind is float and type(value) is int:
        return float(value)
    if kind is Any or _outer(kind) is type(value):
        return value
    raise UserError(f"{place}: {value!r} is not {_name(kind)}")


def _outer(kind: Any) -> Any:
    """Return the type that YAML gives a value of this type."""
    return dict if dataclasses.is_dataclass(kind) else get_origin(kind) or kind


def _name(kind: Any) -> str:
    """Return how an error calls a type."""
    inner = get_args(kind)
    if get_origin(kind) is Literal:
        return f"one of {', '.join(inner)}"
    if get_origin(kind) in (list, tuple):
        return f"a list of {'' if get_origin(kind) is list else f'{len(inner)} '}{_name(inner[0]).split()[-1]}s"
    names = {str: "a text", int: "a whole number", float: "a number", NoneType: "null"}
    return names.get(kind, "`key: value` lines")


def _problem(claim: Claim, known: dict[str, Claim]) -> str:
    """Return what is wrong with a claim beside its types, "" if nothing is."""
    holds = claim.holds
    if file_name(claim.id) != claim.id or " " in claim.id:
        return "an id is a file name without spaces"
    if claim.id in PARTS:
        return "an id cannot be the name of a part"
    if (claim.runs is None) == (claim.analysis is None):
        return "give either runs or analysis"
    if sum(bound is not None for bound in (holds.at_least, holds.at_most, holds.between)) != 1:
        return "holds takes one of at_least, at_most, between"
    low, high = holds.limits
    if not low <= high:  # also if one of them is NaN
        return f"holds cannot be met: {low:g} is not at most {high:g}"
    if not 0 < claim.minutes < math.inf:
        return f"minutes is {claim.minutes:g}; it must be above 0"
    if claim.runs is not None:
        if not claim.runs.seeds or len(set(claim.runs.seeds)) != len(claim.runs.seeds):
            return "seeds must be a list of different seeds"
        if isinstance(claim.quick, list):
            return "quick must be settings by their keys, since the claim has runs"
    if claim.analysis is not None:
        if isinstance(claim.quick, dict):
            return "quick must be a list of arguments, since the claim has an analysis"
        for need in claim.analysis.needs:
            if need not in known or known[need].runs is None:
                return f"needs names {need!r}, which is no claim with runs{did_you_mean(need, known)}"
    return ""
