"""Train one or several configs over seeds and settings; print a table and draw curves.

    python study.py --config palindrome_lstm.yaml --seeds 40 42 44
    python study.py --config palindrome_lstm.yaml --config palindrome_peephole.yaml --vary data.length 10 20 --jobs 2
    python study.py --config palindrome_lstm.yaml --seeds 40 42 44 --trainer.max_steps 500

Other options are passed on to train.py. Each run is a process of train.py. A finished run is not repeated, an
interrupted one is continued, and a failed one is reported with its log while the others go on. The results are in
runs/study/<name>/: table.md, curves.png (mean ± standard deviation over the seeds) and the logs.
"""

import signal
import sys

from lightning_modules.errors import UserError, print_error
from studies.options import parse
from studies.processes import LocalProcesses
from studies.report import write_report
from studies.runs import plan, results_folder


def main() -> int:
    """Carry out the command line; return the exit status: 1 if a run failed, 2 for a mistake in the command."""
    options, overrides = parse(sys.argv[1:], __doc__)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    started = False
    try:
        runs = plan(options.config, options.seeds, options.vary, overrides)
        for run in runs:
            run.finished()  # raises for a damaged summary before anything is begun
        out = results_folder(runs, options.name)
        started = True
        failed = LocalProcesses(out / "logs", options.jobs).carry_out(runs)
        if finished := {run: folder for run in runs if (folder := run.finished())}:
            write_report(finished, out)
    except UserError as error:
        status = print_error("study.py", error)
        return 1 if started else status
    for run, log in failed.items():
        print(f"failed: {run}, see {log}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
