"""The study of the claims: which are run, what is stored of them, and what is printed about them."""

import argparse
import json
import sys
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from lightning_modules.errors import UserError
from lightning_modules.files import make_folder, write_whole
from studies import results, verdicts
from studies.claim_list import FAILED, ROOT, chosen, counted, how_many, read_failed, shown_values
from studies.claims import Claim, load
from studies.executors import make_executor
from studies.jobs import Job, StudyJobs
from studies.live import Display
from studies.page import write_docs, write_page
from studies.results import PUBLISHED_FOLDER
from studies.runner import Runner, Task
from studies.runs import StudyRun

MOST_COLUMNS = 1000  # of a table that goes to a file


def run_claims(options: argparse.Namespace) -> int:
    """Carry out the chosen claims; return the exit status: 1 if a run failed.

    Raises:
        UserError: for a mistake in the command or in the claims, or a damaged file.
    """
    root = ROOT / "quick" if options.quick else ROOT
    out = options.out or root / "results"
    claims = verdicts.with_measured_minutes(load(), results.read_results(PUBLISHED_FOLDER) | results.read_results(out))
    study = StudyJobs({claim.id: claim for claim in claims}, root, options.quick, options.download)
    claims = [claim for claim in chosen(claims, options.only) if not options.quick or claim.quick is not None]
    if not claims:
        raise UserError("--quick: none of these claims has a short run")
    included = claims if options.budget is None else affordable(claims, study, options.budget)
    jobs = study.all_of(included)
    with make_executor(options, len(jobs), root / "jobs") as executor, Display(executor.slots) as display:
        make_folder(out)
        options.started = True
        listed = f"{how_many(len(included), 'claim')}, {how_many(len(jobs), 'job')}"
        print(f"{listed}; Ctrl-C stops, the same command goes on")
        runner = Runner(executor, root / "logs", root / "jobs", display)
        try:
            runner.carry_out(jobs)
        finally:  # also when it is stopped
            store(included, study, runner.tasks, out, options.quick)
    failed = note_failed(root, included, study, runner.tasks)
    print_verdicts(claims, included, results.read_results(out), failed)
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
    """Store what has finished in a results folder, and write its page.

    Other claims that need the same runs, or the same analysis, are stored with those that were chosen.
    """
    folders = {task.job: task.folder for task in tasks if task.state == "finished" and task.folder}
    commands = {results.command(claim) for claim in claims}
    for claim in study.known.values():
        if results.command(claim) not in commands or (quick and claim.quick is None and claim not in claims):
            continue
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


def print_verdicts(
    claims: list[Claim], included: list[Claim], found: Mapping[str, results.Result], failed: Mapping[str, str]
) -> None:
    """Print what came of each claim: holds, differs, failed or not run.

    Claims that did not fit into the budget, and were not run before, are only counted.
    """
    table = Table("claim", "state", "ours", "published", "holds if", box=None, pad_edge=False)
    counts = Counter[str]()
    for claim in claims:
        result = found.get(claim.id)
        state = "failed" if claim.id in failed else verdicts.verdict(claim, result)
        counts[state] += 1
        if claim in included or state != "not run":
            table.add_row(*map(Text, (claim.id, state, *shown_values(claim, result))))
    width = None if sys.stdout.isatty() else MOST_COLUMNS
    print()
    Console(highlight=False, width=width).print(table)
    print(f"\n{counted(counts)}")
