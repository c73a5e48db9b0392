"""The list of claims that `study.py --list` prints. It imports neither torch nor Lightning, so it starts at once."""

import argparse
import json
import shutil
import sys
import textwrap
from collections import Counter
from pathlib import Path

from lightning_modules.errors import UserError, did_you_mean
from studies import results, verdicts
from studies.claims import PARTS, Claim, load
from studies.durations import duration
from studies.results import PUBLISHED_FOLDER
from studies.tables import show, show_published

ROOT = Path("runs/study")
STATES = ("holds", "differs", "failed", "not all seeds", "quick run", "not run")
FAILED = "failed.json"  # in the folder of a study: the log of each claim that failed, by its id


def list_claims(options: argparse.Namespace) -> int:
    """Print every claim: published value and source, ours, command, CPU minutes and state. Return the exit status.

    Ours is that of runs made here; where there are none, the stored one of docs/results. The same is true of the CPU
    minutes; "about" stands before those of claims.yaml, which are estimates.
    """
    own, stored = results.read_results(options.out or ROOT / "results"), results.read_results(PUBLISHED_FOLDER)
    claims = chosen(verdicts.with_measured_minutes(load(), stored | own), options.only)
    failed = read_failed(ROOT)
    part, counts = "", Counter[str]()
    for claim in claims:
        if claim.part != part:
            part = claim.part
            print(f"\n{part}\n{'=' * len(part)}")
        result = own.get(claim.id) or stored.get(claim.id)
        state = "failed" if claim.id in failed else verdicts.verdict(claim, result)
        counts[state] += 1
        if claim.id in failed:
            state += f", see {failed[claim.id]}"
        elif claim.id not in own and claim.id in stored:
            state += ", in docs/results"
        ours, published, bounds = shown_values(claim, result)
        source = f" ({claim.published.source})" if claim.published else ""
        about = "about " if verdicts.cpu_minutes(claim, (stored | own).get(claim.id)) is None else ""
        print(f"\n{claim.id}: {state}")
        print(wrapped(claim.claim))
        print(wrapped(f"published {published}{source} · ours {ours} · holds if {bounds}"))
        print(wrapped(f"{about}{duration(60 * claim.minutes)} of CPU time · {claim.shown}"))
        print(f"  {command(claim)}")  # in one line, so that it can be copied
    print(f"\n{how_many(len(claims), 'claim')}, {duration(60 * minutes_of(claims))} on one core: {counted(counts)}")
    return 0


def wrapped(text: str) -> str:
    """Return an indented text, in lines as wide as the terminal; in one line where there is no terminal."""
    if not sys.stdout.isatty():
        return f"  {text}"
    width = max(40, shutil.get_terminal_size().columns)
    return textwrap.fill(text, width, initial_indent="  ", subsequent_indent="    ", break_on_hyphens=False)


def how_many(count: int, thing: str) -> str:
    """Return "1 claim" or "2 claims"."""
    return f"{count} {thing}{'s' * (count != 1)}"


def chosen(claims: list[Claim], only: list[str] | None) -> list[Claim]:
    """Return the claims that `--only` names, by part or by id; all of them without it.

    Raises:
        UserError: if it names neither.
    """
    names = {*PARTS, *(claim.id for claim in claims)}
    for word in only or []:
        if word not in names:
            parts = ", ".join(PARTS)
            raise UserError(f"--only: {word!r} is neither a part ({parts}) nor a claim{did_you_mean(word, names)}")
    return [claim for claim in claims if not only or {claim.part, claim.id} & set(only)]


def shown_values(claim: Claim, result: results.Result | None) -> tuple[str, str, str]:
    """Return our value of a claim, the published one and the bounds, with the unit; ours says if seeds are missing."""
    unit = f" {claim.unit}" if claim.unit else ""
    ours = f"{show(claim, result, [])}{unit}" if result and result.runs else "–"
    if missing := verdicts.seeds_missing(claim, result):
        ours += f" ({missing} seeds)"
    return ours, f"{show_published(claim)}{unit}" if claim.published else "–", f"{claim.holds}{unit}"


def command(claim: Claim) -> str:
    """Return a command that carries a claim out."""
    return results.command(claim) if claim.runs else f"python study.py --only {claim.id}"


def minutes_of(claims: list[Claim]) -> float:
    """Return the CPU minutes of claims. What several claims share counts once."""
    each = {str(claim.runs or claim.analysis): claim.minutes for claim in claims}
    return sum(each.values())


def read_failed(root: Path) -> dict[str, str]:
    """Return the log of each claim that failed when it was last run."""
    try:
        return dict(json.loads((root / FAILED).read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return {}


def counted(states: Counter[str]) -> str:
    """Return how many claims are in each state, as "12 hold, 1 differs"."""
    many = {"holds": "hold", "differs": "differ"}
    return ", ".join(
        f"{states[state]} {many.get(state, state) if states[state] > 1 else state}" for state in STATES if states[state]
    )
