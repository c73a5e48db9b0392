"""Where the jobs of a study run, by submitit: processes on this machine, or SLURM. One interface for both."""

import argparse
import contextlib
import io
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

from lightning_modules.cli.parent import STOP_WITH_PARENT
from lightning_modules.cli.run_folder import is_running, running
from lightning_modules.errors import UserError
from lightning_modules.files import make_folder
from studies.jobs import Job
from studies.options import slots
from studies.process import Process

ROOT = Path(__file__).resolve().parents[1]
FOREVER = 60 * 24 * 365  # minutes
TIME_LIMIT = 4 * 60  # minutes; a longer run is stopped, saves, and goes on in the queue by itself
MOST_LIMITS = 100  # how many times a run may reach the time limit


class Executor(Protocol):
    """Starts jobs and knows which of them have not ended. It is a context manager.

    Attributes:
        slots: how many submitted jobs may be unfinished at a time.
        lasting: whether jobs go on when the study ends.
        interval: seconds between two looks at them.
    """

    slots: int
    lasting: bool
    interval: float

    def submit(self, job: Job, log: Path) -> str:
        """Start a job and return its id."""

    def active(self) -> dict[str, bool]:
        """Return the jobs that have not ended by their ids, and of each whether it has begun."""

    def output(self, name: str) -> str:
        """Return what a job that has ended printed before its log began."""

    def stop(self) -> None:
        """Stop the jobs, which save, if they do not go on without the study."""


class LocalExecutor:
    """Processes on this machine. They save and stop when the study ends, however it ends.

    Args:
        folder: for submitit's files, which are removed at the end.
        slots: number of processes at a time; they share the cores, if OMP_NUM_THREADS does not say otherwise.
    """

    lasting, interval = False, 0.3

    def __init__(self, folder: Path, slots: int) -> None:
        self.folder, self.slots = folder, slots
        self._jobs: dict[str, Any] = {}
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> "LocalExecutor":
        if not hasattr(signal, "SIGUSR2"):
            raise UserError("study.py starts its runs by submitit, which needs Linux or macOS; train.py works here")
        from submitit import LocalExecutor as Submitit

        make_folder(self.folder)
        for left in self.folder.glob("local-*"):  # of studies that were killed
            if not is_running(left):
                shutil.rmtree(left, ignore_errors=True)
        own = Path(tempfile.mkdtemp(prefix="local-", dir=self.folder))
        self._stack.callback(shutil.rmtree, own, ignore_errors=True)
        self._stack.enter_context(running(own))
        self._write_end = self._stack.enter_context(_standard_input_from_pipe())
        self._submitit = Submitit(own, python=python_of_jobs())
        self._submitit.update_parameters(timeout_min=FOREVER, stderr_to_stdout=True)
        self._environment = {
            "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS") or str(max(1, (os.cpu_count() or 1) // self.slots)),
            STOP_WITH_PARENT: "1",
            "CUDA_VISIBLE_DEVICES": os.environ.get("CUDA_VISIBLE_DEVICES"),  # submitit hides the GPUs
        }
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def submit(self, job: Job, log: Path) -> str:
        """Start a job and return its id."""
        # submitit's processes are in the terminal's group, so Ctrl-C would kill them before the runs have saved.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            started = self._submitit.submit(Process(job.command(), log, job.locked, self._environment))
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        self._jobs[started.job_id] = started
        return started.job_id

    def active(self) -> dict[str, bool]:
        """Return the jobs that have not ended by their ids: all have begun."""
        self._jobs = {name: job for name, job in self._jobs.items() if not job.done()}
        return dict.fromkeys(self._jobs, True)

    def output(self, name: str) -> str:
        """Return what a job that has ended printed before its log began."""
        return output_of(self._submitit.folder, name)

    def stop(self) -> None:
        """Close the pipe that the runs watch, and wait until they have saved."""
        self._write_end.close()
        while self.active():
            time.sleep(0.1)


class SlurmExecutor:
    """Jobs of SLURM. They go on without the study; the same command finds them again.

    Args:
        folder: for submitit's files; the cluster's nodes must see it.
        slots: number of jobs in the queue at a time.
        partition: the partition; None takes the cluster's default.
    """

    lasting, interval = True, 5.0  # each look asks SLURM's controller, which all users share

    def __init__(self, folder: Path, slots: int, partition: str | None) -> None:
        self.folder, self.slots, self.partition = folder.absolute(), slots, partition

    def __enter__(self) -> "SlurmExecutor":
        from submitit import SlurmExecutor as Submitit

        if lacking := [name for name in ("sbatch", "squeue", "srun") if shutil.which(name) is None]:
            raise UserError(f"--executor slurm needs SLURM's commands, and there is no {lacking[0]} here")
        if self.partition:
            listed = subprocess.run(["sinfo", "--noheader", "--format=%R"], capture_output=True, text=True, check=False)
            known = sorted(set(listed.stdout.split()))
            if listed.returncode == 0 and self.partition not in known:
                raise UserError(f"--partition: there is no {self.partition!r} here; there is {', '.join(known)}")
        self.active()  # raises if SLURM does not answer
        make_folder(self.folder)
        self._submitit = Submitit(self.folder, max_num_timeout=MOST_LIMITS, python=python_of_jobs())
        partition = {"partition": self.partition} if self.partition else {}
        self._submitit.update_parameters(
            time=TIME_LIMIT, cpus_per_task=1, stderr_to_stdout=True, job_name="study", **partition
        )
        return self

    def __exit__(self, *_: object) -> None:
        """Leave the jobs in the queue."""

    def submit(self, job: Job, log: Path) -> str:
        """Put a job into the queue and return its id.

        Raises:
            UserError: if SLURM refuses it.
        """
        from submitit.core.utils import FailedJobError

        # The command is made when the job begins, since SLURM may begin a job again, on another node.
        process = Process(job.command, log.absolute(), job.locked, {"OMP_NUM_THREADS": "1"})
        try:
            with contextlib.redirect_stderr(io.StringIO()):  # submitit prints what the error has too
                return self._submitit.submit(process).job_id
        except FailedJobError as error:
            raise UserError(str(error).strip().splitlines()[-1], status=1) from error

    def active(self) -> dict[str, bool]:
        """Return this user's jobs by their ids, and of each whether it has begun.

        Raises:
            UserError: if SLURM does not answer.
        """
        command = ["squeue", "--noheader", "--me", "--format=%i %t"]
        for wait in (1, 5, 25, None):  # a controller that is busy answers late
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode == 0:
                words = (line.split() for line in done.stdout.splitlines())
                return {name: state not in ("PD", "CF", "RQ") for name, state in words}
            if wait is not None:
                time.sleep(wait)
        raise UserError(f"squeue: {' '.join(done.stderr.split())}", status=1)

    def output(self, name: str) -> str:
        """Return what a job that has ended printed before its log began."""
        return output_of(self.folder, name)

    def stop(self) -> None:
        """Leave the jobs in the queue."""


def python_of_jobs() -> str:
    """Return the command that starts a job's Python, in the words of a shell.

    `python -m` imports from the current folder first, and another checkout of this project may be there. -P leaves that
    folder out, and PYTHONPATH names this checkout.
    """
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    return shlex.join(["env", f"PYTHONPATH={path}", sys.executable, "-P"])


def output_of(folder: Path, name: str) -> str:
    """Return what submitit's own process of a job printed."""
    from submitit.core.utils import JobPaths

    try:
        return JobPaths(folder, name).stdout.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


@contextlib.contextmanager
def _standard_input_from_pipe() -> Iterator[Any]:
    """Make standard input, which all processes inherit, a pipe, and yield its other end, which only this one has.

    The system closes the pipe when this process ends, even by SIGKILL.
    """
    before = os.dup(0)
    read_end, write_end = os.pipe()
    os.dup2(read_end, 0)
    os.close(read_end)
    try:
        with os.fdopen(write_end, "wb", buffering=0) as file:
            yield file
    finally:
        os.dup2(before, 0)
        os.close(before)


def make_executor(options: argparse.Namespace, jobs: int, folder: Path) -> LocalExecutor | SlurmExecutor:
    """Return the executor that the command line asks for, for so many jobs, with a folder for its files."""
    if options.executor == "slurm":
        return SlurmExecutor(folder / "slurm", slots(options, jobs), options.partition)
    return LocalExecutor(folder, slots(options, jobs))
