"""What stored results say about claims: whether they hold, what is missing, and how long they took."""

import statistics
from collections.abc import Iterable, Mapping
from dataclasses import replace

from studies.claims import Claim
from studies.results import Result


def values_of(claim: Claim, result: Result) -> list[float | None]:
    """Return the value of every stored run in the claim's unit."""
    return [claim.value(run["summary"]) for run in result.runs]


def verdict(claim: Claim, result: Result | None) -> str:
    """Return "holds", "differs", "not all seeds", "quick run" or "not run"."""
    if result is None or not result.runs:
        return "not run"
    if result.quick:
        return "quick run"
    if seeds_missing(claim, result):
        return "not all seeds"
    values = values_of(claim, result)
    known = [value for value in values if value is not None]
    return "holds" if len(known) == len(values) and claim.judge(known) else "differs"


def seeds_missing(claim: Claim, result: Result | None) -> str:
    """Return "2 of 3" if a claim's result lacks seeds, else ""; also "" if it has none at all."""
    if result is None or not result.runs or claim.runs is None or not set(claim.runs.seeds) - set(result.seeds):
        return ""
    return f"{len(result.seeds)} of {len(claim.runs.seeds)}"


def cpu_minutes(claim: Claim, result: Result | None) -> float | None:
    """Return the CPU minutes of a claim's runs, or of its analysis, as stored runs measured them; None if none did.

    Runs of seeds that are not stored are taken to be as long as the others.
    """
    if result is None or result.quick:
        return None
    seconds = [value for value in result.numbers("cpu_seconds") if value is not None]
    if not seconds:
        return None
    return statistics.fmean(seconds) / 60 * (len(claim.runs.seeds) if claim.runs is not None else 1)


def with_measured_minutes(claims: Iterable[Claim], stored: Mapping[str, Result]) -> list[Claim]:
    """Return claims with the CPU minutes that stored runs have measured in place of estimated ones."""
    return [
        claim if (minutes := cpu_minutes(claim, stored.get(claim.id))) is None else replace(claim, minutes=minutes)
        for claim in claims
    ]
