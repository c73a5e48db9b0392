"""The steps of train.py. A user's mistake is printed as one line and gives an exit status."""

import errno
import sys
from pathlib import Path

from lightning_modules.cli.run import Run
from lightning_modules.cli.settings import TrainCLI
from lightning_modules.cli.trainer import is_first_process
from lightning_modules.errors import UserError, print_error
from lightning_modules.signals import Stopped, signals

WRITING = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)  # errors that only a writer gets


def train(arguments: list[str]) -> None:
    """Carry out a command line.

    Raises:
        UserError: if it cannot be carried out.
        Stopped: on Ctrl-C or SIGTERM.
    """
    with Run(TrainCLI(arguments)) as run:
        run.build()
        run.carry_out()


def main(arguments: list[str]) -> int:
    """Carry out a command line; return the exit status. A user's mistake is one line on stderr."""
    with signals.handled():
        try:
            train(arguments)
        except UserError as error:
            return print_error("train.py", error)
        except Stopped as stopped:
            if is_first_process():
                print(stopped.line or "stopped", file=sys.stdout if stopped.line else sys.stderr, flush=True)
            return 128 + stopped.signum
        except OSError as error:
            if error.errno is None or (error.filename is None and error.strerror is None):
                raise
            # Readers of files raise UserError. What is left is a file of the run, or one that a user's class reads.
            own = error.filename is None or "runs" in Path(str(error.filename)).parts
            does = "write" if own or error.errno in WRITING else "read or write"
            print(f"train.py: error: cannot {does} {error.filename or 'the logs'}: {error.strerror}", file=sys.stderr)
            return 1
    return 0
