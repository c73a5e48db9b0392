"""A study of configs over seeds and varied settings: its runs, its table and its curves."""

import argparse
import sys

from lightning_modules.files import make_folder
from studies.executors import make_executor
from studies.live import Display
from studies.report import write_report
from studies.runner import Runner
from studies.runs import plan, results_folder


def run_configs(options: argparse.Namespace, overrides: list[str]) -> int:
    """Carry out a study of configs; return the exit status: 1 if a run failed.

    Args:
        options: the command line.
        overrides: further arguments for train.py.

    Raises:
        UserError: for a mistake in the command, or a damaged file.
    """
    runs = plan(options.config, options.seeds, options.vary, overrides)
    for run in runs:
        run.finished()  # raises for a damaged summary before anything is begun
    out = results_folder(runs, options.name)
    with make_executor(options, len(runs), out.parent / "jobs") as executor, Display(executor.slots) as display:
        make_folder(out)
        options.started = True
        tasks = Runner(executor, out / "logs", out.parent / "jobs", display).carry_out(list(runs))
    folders = {task.job: task.folder for task in tasks if task.state == "finished"}
    if finished := {run: folder for run in runs if (folder := folders.get(run))}:
        write_report(finished, out)
    failed = [task for task in tasks if task.state != "finished"]
    for task in failed:
        print(f"failed: {task.job}, see {task.log}", file=sys.stderr)
    return 1 if failed else 0
