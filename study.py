"""Run one or several configs over seeds and settings, each run a process of train.py; tabulate and draw them.

    python study.py --config palindrome_lstm.yaml --seeds 40 42 44
    python study.py --config palindrome_lstm.yaml --config palindrome_peephole.yaml --vary data.length 10 20 --jobs 2
    python study.py --config palindrome_lstm.yaml --seeds 40 42 44 --trainer.max_steps 500

Words that are not its own go to train.py. A run that has finished is not repeated, one that was interrupted goes on,
one that fails is named with its log and stops no other. Results: runs/study/<name>/ with table.md, curves.png (mean and
one standard deviation over the seeds) and the logs.
"""

import argparse
import itertools
import os
import re
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lightning_modules.callbacks.summary import read_summary
from lightning_modules.cli.main import parse_settings
from lightning_modules.cli.parent import VARIABLE
from lightning_modules.cli.run_folder import find_runs, is_running
from lightning_modules.errors import LineParser, UserError
from lightning_modules.files import file_name
from lightning_modules.study_report import write_report

ITS_OWN = {  # words of train.py that make no sense here, and what does
    "--ckpt_path": "interrupted runs go on by themselves",
    "--stage": "every run is trained",
    "--seed_everything": "give --seeds",
    "--print_config": "ask train.py",
}
TRAIN = Path(__file__).resolve().parent / "train.py"
MAY_DIFFER = ("config", "ckpt_path", "stage", "checkpoints")  # in two runs that count as the same


@dataclass(eq=False)
class Run:
    """One training run: what it is called, the words for train.py, and where they lead.

    Args:
        parts: its config, and `key=value` for each varied setting.
        seed: its seed.
        arguments: train.py's command line.
    """

    parts: list[str]
    seed: int
    arguments: list[str]
    folder: Path = field(init=False)
    settings: dict[str, Any] = field(init=False)

    def __post_init__(self) -> None:
        self.folder, self.settings = parse_settings(self.arguments)

    @property
    def setting(self) -> str:
        """The row of the table that it counts in."""
        return " ".join(self.parts)

    def __str__(self) -> str:
        return f"{self.setting} seed {self.seed}"

    @property
    def log(self) -> str:
        """Name of the file for what its process says."""
        return f"{file_name('_'.join(self.parts))}_seed_{self.seed}.log"

    def finished(self) -> Path | None:
        """Return the folder of a finished run with these very settings, the newest one.

        Raises:
            UserError: if its summary.json is damaged.
        """
        run = next((run for run in self._same() if (run / "summary.json").is_file()), None)
        if run is not None:
            read_summary(run)
        return run

    def in_use(self) -> Path | None:
        """Return the folder of a run with these very settings that some process is running."""
        return next(filter(is_running, self._same()), None)

    def interrupted(self) -> bool:
        """Tell whether the newest run that `--ckpt_path last` would take is an unfinished one with these settings."""
        alike, _ = find_runs(self.folder, self.settings)
        saved = [run for run in alike if (run / "last.ckpt").is_file()]
        return bool(saved) and saved[0] in self._same() and not (saved[0] / "summary.json").exists()

    def _same(self) -> list[Path]:
        return find_runs(self.folder, self.settings, aside=MAY_DIFFER)[0]


def main() -> int:
    """Carry out the command line; return the exit status: 1 if a run failed, 2 for a mistake in the command."""
    options, overrides = _options().parse_known_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    started = False
    try:
        runs = plan(options.config, options.seeds, options.vary or [], overrides)
        for run in runs:
            run.finished()  # a damaged summary is told before anything is begun
        name = options.name or file_name("+".join(dict.fromkeys(run.folder.name for run in runs)))
        out = runs[0].folder.parent / "study" / name
        try:
            (out / "logs").mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"cannot make the folder {out / 'logs'}: {error.strerror}") from error
        started = True
        failed = execute(runs, out / "logs", options.jobs)
        if finished := {run: folder for run in runs if (folder := run.finished())}:
            report(finished, out)
    except UserError as error:
        print(f"study.py: error: {error}", file=sys.stderr)
        return 1 if started else 2
    for run, reason in failed.items():
        print(f"failed: {run}, {reason}", file=sys.stderr)
    return 1 if failed else 0


def plan(configs: list[str], seeds: list[int], vary: list[list[str]], overrides: list[str]) -> list[Run]:
    """Return the runs: every config, with every combination of the varied settings, with every seed.

    Args:
        configs: config files, as train.py takes them.
        seeds: values of seed_everything.
        vary: [key, value, value, …] for each varied setting.
        overrides: further words for train.py, the same for all runs.

    Raises:
        UserError: if train.py would refuse one of them.
    """
    choices = [[(key, value) for value in values] for key, *values in vary]
    for word in overrides:
        if reason := ITS_OWN.get(word.partition("=")[0]):
            raise UserError(f"{word.partition('=')[0]} is not for a study: {reason}")
    if any(not values for values in choices):
        raise UserError("--vary takes a key and at least one value: --vary data.length 10 20")
    names = {key: short_names(values) for key, *values in vary}
    runs = []
    for config, chosen, seed in itertools.product(configs, itertools.product(*choices), dict.fromkeys(seeds)):
        words = [word for key, value in chosen for word in (f"--{key}", value)]
        parts = [Path(config).stem, *(f"{key}={names[key][value]}" for key, value in chosen)]
        runs.append(Run(parts, seed, ["--config", config, *overrides, *words, "--seed_everything", str(seed)]))
    return runs


def execute(runs: list[Run], logs: Path, jobs: int) -> dict[Run, str]:
    """Run what has not finished yet, `jobs` processes at a time with an equal share of the cores.

    Returns:
        What to say of each run that failed.
    """
    failed: dict[Run, str] = {}
    processes: list[subprocess.Popen] = []
    starting, stopping = threading.Lock(), threading.Event()
    environment = os.environ | {"OMP_NUM_THREADS": str(max(1, (os.cpu_count() or 1) // jobs)), VARIABLE: "1"}

    def start(command: list[str], log: Path) -> subprocess.Popen | None:
        with starting, log.open("w") as file:
            if stopping.is_set():
                return None
            # In a session of its own: Ctrl-C in the terminal reaches this process alone. Each run watches its standard
            # input, which closes when this process closes it or ends, and then saves and stops.
            processes.append(
                subprocess.Popen(
                    command,
                    stdin=subprocess.PIPE,
                    stdout=file,
                    stderr=subprocess.STDOUT,
                    env=environment,
                    start_new_session=True,
                )
            )
            return processes[-1]

    def execute_one(run: Run) -> None:
        if folder := run.in_use():
            print(f"{run}: waiting for {folder}, which another process is running", flush=True)
            while is_running(folder) and not stopping.wait(0.5):
                pass
        if folder := run.finished():
            print(f"{run}: finished before, {folder}", flush=True)
            return
        log = logs / run.log
        command = [sys.executable, str(TRAIN), *run.arguments, *(["--ckpt_path", "last"] if run.interrupted() else [])]
        print(f"{run}: running, {log}", flush=True)
        begin = time.monotonic()
        process = start(command, log)
        if process is None:
            return
        status = process.wait()
        process.stdin.close()  # type: ignore[union-attr]
        if status == 0 and (folder := run.finished()):
            print(f"{run}: finished in {time.monotonic() - begin:.0f} s, {folder}", flush=True)
        elif not stopping.is_set():
            failed[run] = f"see {log}"
            print(f"{run}: failed with status {status}, {log}", flush=True)

    pool = ThreadPoolExecutor(jobs)
    try:
        list(pool.map(execute_one, runs))
    except (KeyboardInterrupt, SystemExit) as stop:
        with starting:
            stopping.set()
        pool.shutdown(wait=False, cancel_futures=True)
        for process in processes:
            process.stdin.close()  # type: ignore[union-attr]  # it saves and can go on
        for process in processes:
            process.wait()
        print("stopped; the same command goes on from here", file=sys.stderr)
        sys.exit(stop.code if isinstance(stop, SystemExit) else 130)
    return failed


def report(finished: dict[Run, Path], out: Path) -> None:
    """Print and write the table, and draw the curves, of the finished runs."""
    settings: dict[str, dict[int, Path]] = {}
    for run, folder in finished.items():
        settings.setdefault(run.setting, {})[run.seed] = folder
    write_report(settings, out)


def short_names(values: list[str]) -> dict[str, str]:
    """Return what a table calls each value: a class by the last part of its import path, if that tells them apart."""
    short = {
        value: value.rpartition(".")[2] if re.fullmatch(r"[A-Za-z_]\w*(\.\w+)+", value) else value for value in values
    }
    return short if len(set(short.values())) == len(short) else {value: value for value in values}


def _options() -> argparse.ArgumentParser:
    parser = LineParser("study.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", action="append", required=True, help="a config of train.py; may be given again")
    parser.add_argument("--seeds", nargs="+", type=int, default=[42], help="values of seed_everything (default: 42)")
    parser.add_argument("--vary", nargs="+", action="append", metavar=("KEY", "VALUE"), help="a setting and its values")
    parser.add_argument("--jobs", type=_positive, default=1, help="processes at a time (default: 1)")
    parser.add_argument("--name", type=_folder_name, help="name of the results' folder (default: the configs' names)")
    return parser


def _folder_name(word: str) -> str:
    if Path(word).name != word or word in ("", ".", ".."):
        raise argparse.ArgumentTypeError(f"{word!r} is not the name of one folder")
    if file_name(word) != word:
        raise argparse.ArgumentTypeError(f"{word!r} is not a name for every file system; {file_name(word)!r} would be")
    return word


def _positive(word: str) -> int:
    if not word.isdecimal() or int(word) == 0:
        raise argparse.ArgumentTypeError(f"{word!r} is not a positive number")
    return int(word)


if __name__ == "__main__":
    sys.exit(main())
