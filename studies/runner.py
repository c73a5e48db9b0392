"""Carries out the jobs of a study: starts them in order, watches them, and says what became of each."""

import hashlib
import json
import os
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from lightning_modules.cli.run_folder import is_running
from lightning_modules.files import make_folder, write_whole
from studies.executors import Executor
from studies.jobs import Job
from studies.runs import StudyRun

State = Literal["waiting", "queued", "running", "elsewhere", "finished", "failed", "no data", "left out"]
ENDED = ("finished", "failed", "no data", "left out")
NO_DATA = "--data.download true"  # in the last line of a run whose data set is not here


@dataclass(eq=False)
class Task:
    """A job and its state.

    Args:
        job: the job.
        log: file for its output.
        state: "elsewhere" means that a process of another study is carrying it out; "left out", that a run which it
            needs has not finished; the others are what they say.
        id: its name at the executor.
        begun: when it began, by `time.monotonic`.
        folder: its folder, once known.
        note: what `Display` prints behind its state.
        looked_at: whether it has been checked that it was not carried out before.
    """

    job: Job
    log: Path
    state: State = "waiting"
    id: str | None = None
    begun: float | None = None
    folder: Path | None = None
    note: str = ""
    looked_at: bool = False

    @property
    def ended(self) -> bool:
        """Whether nothing more will happen to it."""
        return self.state in ENDED


class Watcher(Protocol):
    """Shows the changes that a runner reports."""

    def changed(self, task: Task) -> None:
        """The state of a task has changed."""

    def looked(self, tasks: list[Task]) -> None:
        """All tasks have been looked at."""


class Runner:
    """Carries out jobs by an executor.

    Args:
        executor: where they run.
        logs: folder for one log per job.
        records: folder where jobs that outlast this process are noted.
        watcher: shows changes.
    """

    def __init__(
        self,
        executor: Executor,
        logs: Path,
        records: Path,
        watcher: Watcher,
    ) -> None:
        self.executor, self.logs, self.records, self.watcher = executor, logs, records, watcher
        self.tasks: list[Task] = []

    def carry_out(self, jobs: list[Job]) -> list[Task]:
        """Carry out all jobs that have not finished yet; return what became of each.

        Ctrl-C and SIGTERM let the processes of this machine save and stop, and end this process.

        Raises:
            UserError: if a job cannot be started.
        """
        for folder in (self.logs, self.records):
            make_folder(folder)
        self.tasks = [Task(job, self.logs / job.log) for job in jobs]
        try:
            active = self.executor.active()
            while True:
                for task in self.tasks:
                    if not task.ended:
                        self._look(task, active)
                self.watcher.looked(self.tasks)
                if all(task.ended for task in self.tasks):
                    return self.tasks
                time.sleep(self.executor.interval)
                active = self.executor.active()
        except (KeyboardInterrupt, SystemExit) as stop:
            self._stop()
            sys.exit(stop.code if isinstance(stop, SystemExit) else 130)
        finally:
            self.executor.stop()

    def _look(self, task: Task, active: dict[str, bool]) -> None:
        """Move a task on, if something has happened to it."""
        if task.state == "waiting":
            self._look_at_waiting(task, active)
        elif task.state == "elsewhere":
            if task.folder is None or not is_running(task.folder):
                task.state = "waiting"
                self._look_at_waiting(task, active)
        elif task.id in active:
            state: State = "running" if active[task.id] else "queued"  # SLURM may put it back into the queue
            if task.state != state:
                self._set(task, state, task.note)
        else:
            self._end(task)

    def _look_at_waiting(self, task: Task, active: dict[str, bool]) -> None:
        needs = [other.state for other in self.tasks if other.job in task.job.needs]
        if any(state in ENDED and state != "finished" for state in needs):
            self._set(task, "left out", "a run that it needs has not finished")
        elif any(state != "finished" for state in needs) or (task.looked_at and not self._has_free_slot()):
            return  # `finished` compares its settings with those of all runs, which takes too long for every look
        elif folder := task.job.finished():
            self._record(task).unlink(missing_ok=True)
            self._set(task, "finished", f"before, {folder}", folder)
        elif (noted := self._noted(task)) in active:
            task.id = noted
            self._set(task, "running" if active[noted] else "queued", f"as job {noted} of before, {task.log}")
        elif folder := task.job.in_use():
            self._set(task, "elsewhere", f"{folder}, which another process is running", folder)
        elif self._has_free_slot():
            task.log.unlink(missing_ok=True)  # that of an earlier try
            task.id = self.executor.submit(task.job, task.log)
            if self.executor.lasting:
                write_whole(self._record(task), json.dumps({"id": task.id, "log": str(task.log)}) + "\n")
            self._set(task, "queued" if self.executor.lasting else "running", str(task.log))
        task.looked_at = True

    def _has_free_slot(self) -> bool:
        return sum(task.state in ("queued", "running") for task in self.tasks) < self.executor.slots

    def _end(self, task: Task) -> None:
        """Say what became of a task whose job has ended, by the files that it left."""
        self._record(task).unlink(missing_ok=True)
        if folder := task.job.finished():
            took = "" if task.begun is None else f"in {time.monotonic() - task.begun:.0f} s, "
            self._set(task, "finished", f"{took}{folder}", folder)
        elif folder := task.job.in_use():  # only the job was killed, not the run
            self._set(task, "elsewhere", f"{folder}, which another process is running", folder)
        elif NO_DATA in last_line(task.log):
            self._set(task, "no data", f"{task.log}: {last_line(task.log)}")
        else:
            if not last_line(task.log) and task.id:  # the job ended before it started the run
                write_whole(task.log, self.executor.output(task.id))
            self._set(task, "failed", str(task.log))

    def _set(self, task: Task, state: State, note: str = "", folder: Path | None = None) -> None:
        if state == "running" and task.begun is None:
            task.begun = time.monotonic()
        task.state, task.note, task.folder = state, note, folder
        self.watcher.changed(task)

    def _stop(self) -> None:
        for signum in (signal.SIGINT, signal.SIGTERM):
            signal.signal(signum, signal.SIG_IGN)  # a repeated signal must not interrupt the saving
        self.executor.stop()
        left = [task.id for task in self.tasks if task.state in ("queued", "running") and task.id]
        if self.executor.lasting and left:
            print(f"stopped; {len(left)} jobs go on (to end them: scancel {' '.join(left)})", file=sys.stderr)
        print("stopped; the same command continues from here", file=sys.stderr)

    def _record(self, task: Task) -> Path:
        """Return the file where a task's job is noted; its name is a hash of the log and, for a run, the command."""
        words = task.job.words if isinstance(task.job, StudyRun) else []
        key = hashlib.sha256(os.fsencode(f"{task.log.absolute()} {words}")).hexdigest()[:16]
        return self.records / f"{key}.json"

    def _noted(self, task: Task) -> str:
        """Return the id of the job that an earlier study started for a task, "" if there is none."""
        try:
            return str(json.loads(self._record(task).read_text(encoding="utf-8"))["id"])
        except (OSError, ValueError, KeyError, TypeError):
            return ""


def last_line(log: Path) -> str:
    """Return the last line of a log that is not empty."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - 4000))
            lines = file.read().decode(errors="replace").split("\n")
    except OSError:
        return ""
    return next((line.strip() for line in reversed(lines) if line.strip()), "")
