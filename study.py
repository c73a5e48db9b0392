"""Repeat the study that README.md tells of, or run any config over seeds and settings.

    python study.py --list                       every claim: published value and source, ours, command, CPU minutes
    python study.py --only palindromes           a part of the study, or a claim by its id
    python study.py --budget 30                  what fits into 30 CPU minutes, the shortest first
    python study.py                              all of it

    python study.py --config palindrome_lstm.yaml --seeds 40 42 44
    python study.py --config palindrome_lstm.yaml --config palindrome_peephole.yaml --vary data.length 10 20

Each run is a process of its own, on this machine or, with --executor slurm, on a cluster, whose other settings are
sbatch's variables, such as SBATCH_ACCOUNT. A finished run is not repeated, an interrupted one is continued, and a
failed one is reported with its log while the others go on. The results of claims are in runs/study/results/: README.md,
with tables and pictures made of data/. Those of configs are in runs/study/<name>/: table.md, curves.png (mean ±
standard deviation over the seeds) and the logs.
"""

import argparse
import os
import signal
import sys

from lightning_modules.errors import UserError, print_error
from studies.claim_list import list_claims
from studies.options import parse


def main() -> int:
    """Carry out the command line; return the exit status: 1 if a run failed, 2 for a mistake in the command."""
    options, overrides = parse(sys.argv[1:], __doc__)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        if options.list:
            return show_list(options)
        if options.config:  # these import Lightning, which takes seconds
            from studies.config_study import run_configs

            return run_configs(options, overrides)
        from studies.claim_study import run_claims

        return run_claims(options)
    except UserError as error:
        status = print_error("study.py", error)
        return 1 if options.started else status
    except KeyboardInterrupt:  # while the settings are read: the runner itself ends runs that are under way
        print("stopped", file=sys.stderr)
        return 130


def show_list(options: argparse.Namespace) -> int:
    """List the claims; return the exit status. It is 0 also if the reader, such as `head`, has seen enough."""
    try:
        status = list_claims(options)
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python flushes stdout once more at its end
        return 0
    return status


if __name__ == "__main__":
    sys.exit(main())
