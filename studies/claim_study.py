"""The study of the claims: which are run, what is stored of them, and what is printed about them."""

import argparse
import json
import sys
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from lightning_modules.errors import UserError, did_you_mean
from lightning_modules.files import write_whole
from studies import results
from studies.claims import PARTS, Claim, load
from studies.executors import make_executor
from studies.jobs import Job, StudyJobs
from studies.live import Display, duration
from studies.page import PUBLISHED_FOLDER, write_docs, write_page
from studies.runner import Runner, Task
from studies.runs import StudyRun, make_folder
from studies.tables import show, show_published

ROOT = Path("runs/study")
FAILED = "failed.json"  # in the folder above: the log of each claim that failed, by its id


def list_claims(options: argparse.Namespace) -> int:
    """Print every claim: published value and source, ours, command, CPU minutes and state. Return the exit status.

    Ours is that of runs made here; where there are none, the stored one of docs/results.
    """
    claims = chosen(load(), options.only)
    own, stored = results.read_results(options.out or ROOT / "results"), results.read_results(PUBLISHED_FOLDER)
    failed = read_failed(ROOT)
    part, counts = "", Counter[str]()
    for claim in claims:
        if claim.part != part:
            part = claim.part
            print(f"\n{part}\n{'=' * len(part)}")
        result = own.get(claim.id) or stored.get(claim.id)
        state = "failed" if claim.id in failed else results.verdict(claim, result)
        counts[state] += 1
        if claim.id in failed:
            state += f", see {failed[claim.id]}"
        elif claim.id not in own and claim.id in stored:
            state += ", in docs/results"
        ours, published, bounds = values_of(claim, result)
        source = f" ({claim.published.source})" if claim.published else ""
        print(f"\n{claim.id}: {state}\n  {claim.claim}")
        print(f"  published {published}{source} · ours {ours} · holds if {bounds}")
        print(f"  {claim.minutes:g} CPU minutes · {claim.shown}\n  {command(claim)}")
    print(f"\n{len(claims)} claims, {duration(60 * minutes_of(claims))} on one core: {counted(counts)}")
    return 0


def values_of(claim: Claim, result: results.Result | None) -> tuple[str, str, str]:
    """Return our value of a claim, the published one and the bounds, with the unit."""
    unit = f" {claim.unit}" if claim.unit else ""
    ours = f"{show(claim, result, [])}{unit}" if result and result.runs else "–"
    return ours, f"{show_published(claim)}{unit}" if claim.published else "–", f"{claim.holds}{unit}"


def command(claim: Claim) -> str:
    """Return a command that carries a claim out."""
    return results.command(claim) if claim.runs else f"python study.py --only {claim.id}"


def minutes_of(claims: list[Claim]) -> float:
    """Return the CPU minutes of claims. What several claims share counts once."""
    each = {str(claim.runs or claim.analysis): claim.minutes for claim in claims}
    return sum(each.values())


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


def run_claims(options: argparse.Namespace) -> int:
    """Carry out the chosen claims; return the exit status: 1 if a run failed.

    Raises:
        UserError: for a mistake in the command or in the claims, or a damaged file.
    """
    claims = load()
    root = ROOT / "quick" if options.quick else ROOT
    study = StudyJobs({claim.id: claim for claim in claims}, root, options.quick, options.download)
    claims = [claim for claim in chosen(claims, options.only) if not options.quick or claim.quick is not None]
    if not claims:
        raise UserError("--quick: none of these claims has a short run")
    included = claims if options.budget is None else affordable(claims, study, options.budget)
    jobs = study.all_of(included)
    out = options.out or root / "results"
    with make_executor(options, len(jobs), root / "jobs") as executor, Display(executor.places) as display:
        options.started = True
        make_folder(out)
        print(f"{len(included)} claims, {len(jobs)} runs and analyses; Ctrl-C stops, the same command goes on")
        runner = Runner(executor, root / "logs", root / "jobs", display)
        try:
            runner.carry_out(jobs)
        finally:  # also when it is stopped
            store(included, study, runner.tasks, out, options.quick)
    failed = note_failed(root, included, study, runner.tasks)
    print_verdicts(claims, results.read_results(out), failed)
    print(f"{out / 'README.md'}")
    bad = [task for task in runner.tasks if task.state == "failed"]
    for task in runner.tasks:
        if task.state in ("failed", "no data"):
            print(f"{task.state}: {task.job}, see {task.log}", file=sys.stderr)
    if any(task.state == "no data" for task in runner.tasks):
        print("with --download the same command fetches the data", file=sys.stderr)
    return 1 if bad else 0


def affordable(claims: list[Claim], study: StudyJobs, budget: float) -> list[Claim]:
    """Return the claims that fit into a budget of CPU minutes, those with the shortest runs first.

    What has finished costs nothing, and runs that several claims share cost once.
    """
    paid: set[Job] = set()
    included: list[Claim] = []
    open_claims = {claim.id: (claim, study.all_of([claim])) for claim in claims}
    for _, jobs in open_claims.values():
        paid |= {job for job in jobs if job not in paid and job.finished()}
    while open_claims:
        costs = {
            name: sum(job.minutes or 0 for job in jobs if job not in paid) for name, (_, jobs) in open_claims.items()
        }
        cheapest = min(costs, key=lambda name: costs[name])
        claim, jobs = open_claims.pop(cheapest)
        if costs[cheapest] > budget:
            break
        budget -= costs[cheapest]
        paid |= set(jobs)
        included.append(claim)
    return included


def store(claims: list[Claim], study: StudyJobs, tasks: list[Task], out: Path, quick: bool) -> None:
    """Store what has finished in a results folder, and write its page."""
    folders = {task.job: task.folder for task in tasks if task.state == "finished" and task.folder}
    for claim in claims:
        own = [job for job in study.of(claim) if job in folders]
        runs = {job.seed: folders[job] for job in own if isinstance(job, StudyRun)}
        if runs:
            results.store_runs(out, claim, runs, quick)
        elif own:
            results.store_analysis(out, claim, folders[own[0]], quick)
    if out.resolve() == PUBLISHED_FOLDER.resolve():
        write_docs()
    else:
        write_page(out)


def note_failed(root: Path, claims: list[Claim], study: StudyJobs, tasks: list[Task]) -> dict[str, str]:
    """Write down which claims failed, for `--list`, and return their logs by their ids."""
    failed = read_failed(root)
    logs = {task.job: str(task.log) for task in tasks if task.state == "failed"}
    for claim in claims:
        failed.pop(claim.id, None)
        for job in study.all_of([claim]):
            if job in logs:
                failed[claim.id] = logs[job]
    write_whole(root / FAILED, json.dumps(failed, indent=1) + "\n")
    return failed


def read_failed(root: Path) -> dict[str, str]:
    """Return the log of each claim that failed when it was last run."""
    try:
        return dict(json.loads((root / FAILED).read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return {}


def print_verdicts(claims: list[Claim], found: Mapping[str, results.Result], failed: Mapping[str, str]) -> None:
    """Print what came of each claim: holds, differs, failed or not run."""
    rows = [("claim", "state", "ours", "published", "holds if")]
    counts = Counter[str]()
    for claim in claims:
        result = found.get(claim.id)
        state = "failed" if claim.id in failed else results.verdict(claim, result)
        counts[state] += 1
        rows.append((claim.id, state, *values_of(claim, result)))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    print()
    for row in rows:
        print("  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip())
    print(f"\n{counted(counts)}")


def counted(states: Counter[str]) -> str:
    """Return how many claims are in each state, as "12 hold, 1 differs"."""
    many = {"holds": "hold", "differs": "differ"}
    return ", ".join(f"{count} {many.get(state, state) if count > 1 else state}" for state, count in states.items())
