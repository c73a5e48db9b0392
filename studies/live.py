"""What a study shows while it runs: a live table in a terminal, plain lines elsewhere."""

import time
from pathlib import Path

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from studies.durations import duration
from studies.runner import Task
from studies.runs import StudyRun

WORDS = {  # a state, and how it is joined to the note that follows
    "running": "running,", "elsewhere": "waiting for", "queued": "in the queue,", "failed": "failed, see",
    "no data": "no data,", "left out": "left out,",
}  # fmt: skip
SHOWN = 20  # rows of the table; a terminal has little more
INTERVAL = 1.0  # seconds between two looks at the steps


class Display:
    """Shows the tasks of a study.

    Args:
        slots: how many tasks run at a time, from which the time that is left is estimated.
        console: where to print; None means standard output.
    """

    def __init__(self, slots: int, console: Console | None = None) -> None:
        self.console = console or Console(highlight=False, soft_wrap=True)
        self.slots = slots
        self._live: Live | None = None
        self._first: dict[Task, tuple[float, int]] = {}  # when a task's steps were first seen, and how many
        self._steps: dict[Task, int] = {}
        self._looked = -INTERVAL

    def __enter__(self) -> "Display":
        if self.console.is_terminal and not self.console.is_dumb_terminal:
            self._live = Live(console=self.console, auto_refresh=False, transient=True)
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.stop()

    def changed(self, task: Task) -> None:
        """Print a line about a task whose state has changed; in a terminal, only if it has ended badly."""
        if self._live is None or task.state in ("failed", "no data"):
            self.console.print(f"{task.job}: {WORDS.get(task.state, task.state)} {task.note}", markup=False)

    def looked(self, tasks: list[Task]) -> None:
        """Show all tasks in the live table."""
        if self._live is None or time.monotonic() - self._looked < INTERVAL:
            return
        self._looked = time.monotonic()
        for task in tasks:
            if task.state == "running":
                self._look_at_steps(task)
        self._live.update(self.table(tasks), refresh=True)

    def table(self, tasks: list[Task]) -> Group:
        """Return a line about all tasks, and the table of those that are under way or have failed.

        The line comes first, since a low terminal cuts off the end.
        """
        under_way = [task for task in tasks if task.state in ("running", "elsewhere", "queued")]
        failed = [task for task in tasks if task.state == "failed"]
        table = Table(box=None)
        for column in ("run", "state", "steps", "time left"):
            table.add_column(column, justify="left" if column in ("run", "state") else "right")
        for task in [*under_way, *failed][:SHOWN]:
            total, steps = task.job.steps, self._steps.get(task)
            shown = "" if steps is None else f"{steps} of {total}" if total else str(steps)
            left = self._left(task)
            table.add_row(str(task.job), task.state, shown, duration(left) if left is not None else "")
        ended, waiting = (sum(task.state == state for task in tasks) for state in ("finished", "waiting"))
        rest = self.seconds_left(tasks)
        line = f"{ended} of {len(tasks)} finished, {len(under_way)} under way, {waiting} waiting, {len(failed)} failed"
        return Group(Text(line + (f", about {duration(rest)} left" if rest is not None else "")), table)

    def seconds_left(self, tasks: list[Task]) -> float | None:
        """Return about how long all tasks still take, None if that of one is not known."""
        open_tasks = [task for task in tasks if not task.ended]
        each = [self._left(task) for task in open_tasks]
        known = [seconds for seconds in each if seconds is not None]
        if not open_tasks or len(known) < len(each):
            return None
        return max(sum(known) / min(self.slots, len(known)), *known)

    def _left(self, task: Task) -> float | None:
        """Return how many seconds a task still takes: by its own speed, else by the minutes measured before.

        None means that it is not known, or that it has taken longer already.
        """
        if task.ended:
            return None
        now = time.monotonic()
        total, steps = task.job.steps, self._steps.get(task, 0)
        if task in self._first and total:
            since, first = self._first[task]
            if steps > first:
                return (total - steps) * (now - since) / (steps - first)
        if task.job.minutes is None:
            return None
        left = 60 * task.job.minutes - (now - task.begun if task.begun is not None else 0)
        return left if left > 0 else None

    def _look_at_steps(self, task: Task) -> None:
        if not isinstance(task.job, StudyRun):
            return
        if task.folder is None:
            task.folder = task.job.under_way()
        steps = last_step(task.folder / "metrics.csv") if task.folder else None
        if steps is not None:
            self._steps[task] = steps
            self._first.setdefault(task, (time.monotonic(), steps))


def last_step(path: Path) -> int | None:
    """Return how many steps a metrics.csv has, by its last whole line; None if it has none. Reads its end only."""
    try:
        with path.open("rb") as file:
            column = file.readline().decode().strip().split(",").index("step")
            begin = file.tell()
            file.seek(max(begin, path.stat().st_size - 4000))
            lines = file.read().decode().split("\n")
        return int(lines[-2].split(",")[column]) + 1
    except (OSError, ValueError, IndexError):
        return None
