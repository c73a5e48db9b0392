"""One run as a submitit job: a process of its own, with a log. Imports nothing slow, since every job imports it."""

import contextlib
import os
import signal
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path

from submitit.core.utils import DelayedSubmission

from lightning_modules.cli.parent import STOP_WITH_PARENT
from lightning_modules.cli.run_folder import running

# Inside of a job Lightning would take SLURM's variables for those of a training on several nodes.
OF_THE_JOB = ("SLURM_", "SUBMITIT_", "SRUN_")


class Process:
    """Carries out one run when submitit calls it, and returns the exit status.

    Args:
        command: the words of the command; or a function that returns them, which is called when the job starts.
        log: file for the output.
        folder: the folder to be locked meanwhile; None for train.py, which locks its own.
        environment: variables for the command; None removes one.
    """

    def __init__(
        self,
        command: list[str] | Callable[[], list[str]],
        log: Path,
        folder: Path | None,
        environment: dict[str, str | None],
    ) -> None:
        self.command, self.log, self.folder, self.environment = command, log, folder, environment
        self._process: subprocess.Popen[bytes] | None = None

    def __call__(self) -> int:
        """Run the command to its end."""
        again = "SLURM_RESTART_COUNT" in os.environ
        words = self.command if isinstance(self.command, list) else self.command()
        variables = {name: value for name, value in os.environ.items() if not name.startswith(OF_THE_JOB)}
        variables |= {name: value for name, value in self.environment.items() if value is not None}
        for name in [name for name, value in self.environment.items() if value is None]:
            variables.pop(name, None)
        lock = running(self.folder) if self.folder else contextlib.nullcontext()
        with lock, self.log.open("a" if again else "w") as file:
            # SLURM sends the signal that announces the time limit to all processes of a job. It would end the command,
            # which inherits that it is blocked; submitit handles it here, and then `checkpoint` stops the command.
            before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR2})
            # A session of its own: Ctrl-C in the terminal reaches the study alone, which closes the pipe.
            self._process = subprocess.Popen(
                words, stdout=file, stderr=subprocess.STDOUT, env=variables, start_new_session=True
            )
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
            if self.folder and variables.get(STOP_WITH_PARENT) == "1":
                threading.Thread(target=self._stop_with_study, daemon=True).start()
            return self._process.wait()

    def checkpoint(self) -> DelayedSubmission:
        """Stop the command, which saves, and return the job that goes on. submitit calls it near SLURM's time limit."""
        if self._process is not None:
            self._process.send_signal(signal.SIGTERM)
            with contextlib.suppress(ChildProcessError):  # has been waited for
                # This is a signal's handler: Popen.wait, which it has interrupted, holds a lock.
                os.waitid(os.P_PID, self._process.pid, os.WEXITED | os.WNOWAIT)
            self._process = None
        return DelayedSubmission(self)

    def _stop_with_study(self) -> None:
        """Stop an analysis when the pipe from the study closes; train.py watches the pipe itself."""
        with contextlib.suppress(OSError):
            while os.read(0, 1):
                pass
        if self._process is not None:
            self._process.terminate()
