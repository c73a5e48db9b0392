"""The runs of a study as processes of train.py on this machine."""

import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from lightning_modules.cli.parent import VARIABLE
from lightning_modules.cli.run_folder import is_running
from studies.runs import StudyRun

TRAIN = Path(__file__).resolve().parent.parent / "train.py"


class LocalProcesses:
    """Carries out runs, several processes at a time, each with an equal number of cores.

    Args:
        logs: folder for one log per run.
        jobs: number of processes at a time.
    """

    def __init__(self, logs: Path, jobs: int) -> None:
        self.logs, self.jobs = logs, jobs
        self.environment = os.environ | {"OMP_NUM_THREADS": str(max(1, (os.cpu_count() or 1) // jobs)), VARIABLE: "1"}
        self._failed: dict[StudyRun, Path] = {}
        self._processes: list[subprocess.Popen[bytes]] = []
        self._starting, self._stopping = threading.Lock(), threading.Event()

    def carry_out(self, runs: list[StudyRun]) -> dict[StudyRun, Path]:
        """Carry out all runs that have not finished yet; return the log of each that failed.

        Ctrl-C and SIGTERM let the running processes save and stop, and end this process.
        """
        pool = ThreadPoolExecutor(self.jobs)
        try:
            list(pool.map(self._carry_out_one, runs))
        except (KeyboardInterrupt, SystemExit) as stop:
            for signum in (signal.SIGINT, signal.SIGTERM):
                signal.signal(signum, signal.SIG_IGN)  # a repeated signal must not interrupt the saving
            with self._starting:
                self._stopping.set()
            pool.shutdown(wait=False, cancel_futures=True)
            for process in self._processes:
                _close_input(process)
            for process in self._processes:
                process.wait()
            print("stopped; the same command continues from here", file=sys.stderr)
            sys.exit(stop.code if isinstance(stop, SystemExit) else 130)
        return self._failed

    def _carry_out_one(self, run: StudyRun) -> None:
        if folder := run.in_use():
            print(f"{run}: waiting for {folder}, which another process is running", flush=True)
            while is_running(folder) and not self._stopping.wait(0.5):
                pass
        if folder := run.finished():
            print(f"{run}: finished before, {folder}", flush=True)
            return
        log = self.logs / run.log
        command = [sys.executable, str(TRAIN), *run.arguments, *(["--ckpt_path", "last"] if run.interrupted() else [])]
        print(f"{run}: running, {log}", flush=True)
        begin = time.monotonic()
        process = self._start(command, log)
        if process is None:
            return
        status = process.wait()
        _close_input(process)
        if status == 0 and (folder := run.finished()):
            print(f"{run}: finished in {time.monotonic() - begin:.0f} s, {folder}", flush=True)
        elif not self._stopping.is_set():
            self._failed[run] = log
            print(f"{run}: failed with status {status}, {log}", flush=True)

    def _start(self, command: list[str], log: Path) -> subprocess.Popen[bytes] | None:
        """Start a process, unless the study is being stopped.

        The process gets a session of its own, so that Ctrl-C in the terminal reaches only the study. It watches its
        standard input: when the study closes the pipe, or ends, the process saves and stops.
        """
        with self._starting, log.open("w") as file:
            if self._stopping.is_set():
                return None
            process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=file,
                stderr=subprocess.STDOUT,
                env=self.environment,
                start_new_session=True,
            )
            self._processes.append(process)
            return process


def _close_input(process: subprocess.Popen[bytes]) -> None:
    if process.stdin is not None:
        process.stdin.close()
