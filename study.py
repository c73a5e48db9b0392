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
import json
import os
import re
import signal
import statistics
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lightning_modules.callbacks.colours import colour, line
from lightning_modules.callbacks.metrics_csv import curve, read_metrics
from lightning_modules.callbacks.summary import LAST
from lightning_modules.cli import parse_settings
from lightning_modules.errors import LineParser, UserError
from lightning_modules.runs import find_runs

ITS_OWN = {  # words of train.py that make no sense here, and what does
    "--ckpt_path": "interrupted runs go on by themselves",
    "--stage": "every run is trained",
    "--seed_everything": "give --seeds",
    "--print_config": "ask train.py",
}
TRAIN = Path(__file__).resolve().parent / "train.py"


@dataclass(eq=False)
class Run:
    """One training run: what it is called, the words for train.py, and where they lead.

    Args:
        setting: config and varied settings, the row that it counts in.
        seed: its seed.
        arguments: train.py's command line.
    """

    setting: str
    seed: int
    arguments: list[str]
    folder: Path = field(init=False)
    settings: dict[str, Any] = field(init=False)

    def __post_init__(self) -> None:
        self.folder, self.settings = parse_settings(self.arguments)

    def __str__(self) -> str:
        return f"{self.setting} seed {self.seed}"

    def finished(self) -> Path | None:
        """Return the folder of a finished run with these very settings, the newest one."""
        same, _ = find_runs(self.folder, self.settings, aside=("config", "ckpt_path", "stage", "checkpoints"))
        return next((run for run in same if (run / "summary.json").is_file()), None)

    def interrupted(self) -> bool:
        """Tell whether the newest run that `--ckpt_path last` would take is an unfinished one with these settings."""
        alike, _ = find_runs(self.folder, self.settings)
        same, _ = find_runs(self.folder, self.settings, aside=("config", "ckpt_path", "stage", "checkpoints"))
        saved = [run for run in alike if (run / "last.ckpt").is_file()]
        return bool(saved) and saved[0] in same and not (saved[0] / "summary.json").exists()


def main() -> int:
    """Carry out the command line; return the exit status: 1 if a run failed, 2 for a mistake in the command."""
    options, overrides = _options().parse_known_args()
    try:
        runs = plan(options.config, options.seeds, options.vary or [], overrides)
    except UserError as error:
        print(f"study.py: error: {error}", file=sys.stderr)
        return 2
    out = runs[0].folder.parent / "study" / (options.name or "+".join(dict.fromkeys(run.folder.name for run in runs)))
    (out / "logs").mkdir(parents=True, exist_ok=True)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    failed = execute(runs, out / "logs", options.jobs)
    finished = {run: folder for run in runs if (folder := run.finished())}
    if finished:
        report(finished, out)
    for run, log in failed.items():
        print(f"failed: {run}, see {log}", file=sys.stderr)
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
        setting = " ".join([Path(config).stem, *(f"{key}={names[key][value]}" for key, value in chosen)])
        runs.append(Run(setting, seed, ["--config", config, *overrides, *words, "--seed_everything", str(seed)]))
    return runs


def execute(runs: list[Run], logs: Path, jobs: int) -> dict[Run, Path]:
    """Run what has not finished yet, `jobs` processes at a time with an equal share of the cores.

    Returns:
        The log of each run that failed.
    """
    failed: dict[Run, Path] = {}
    processes: list[subprocess.Popen] = []
    stopping = False
    environment = os.environ | {"OMP_NUM_THREADS": str(max(1, (os.cpu_count() or 1) // jobs))}

    def execute_one(run: Run) -> None:
        if folder := run.finished():
            print(f"{run}: finished before, {folder}", flush=True)
            return
        log = logs / f"{run}.log".replace(" ", "_").replace("/", "-")
        command = [sys.executable, str(TRAIN), *run.arguments, *(["--ckpt_path", "last"] if run.interrupted() else [])]
        print(f"{run}: running, {log}", flush=True)
        start = time.monotonic()
        with log.open("w") as file:
            # In a session of its own: Ctrl-C in the terminal reaches this process alone, which passes one signal on.
            process = subprocess.Popen(
                command, stdout=file, stderr=subprocess.STDOUT, env=environment, start_new_session=True
            )
        processes.append(process)
        if process.wait() == 0 and (folder := run.finished()):
            print(f"{run}: finished in {time.monotonic() - start:.0f} s, {folder}", flush=True)
        elif not stopping:
            failed[run] = log
            print(f"{run}: failed with status {process.returncode}, {log}", flush=True)

    pool = ThreadPoolExecutor(jobs)
    try:
        list(pool.map(execute_one, runs))
    except (KeyboardInterrupt, SystemExit) as stop:
        stopping = True
        pool.shutdown(wait=False, cancel_futures=True)
        for process in processes:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)  # it saves and can go on
                process.wait()
        print("stopped; the same command goes on from here", file=sys.stderr)
        sys.exit(stop.code if isinstance(stop, SystemExit) else 130)
    return failed


def report(finished: dict[Run, Path], out: Path) -> None:
    """Print and write the table, and draw the curves, of the finished runs."""
    settings: dict[str, dict[int, Path]] = {}
    for run, folder in finished.items():
        settings.setdefault(run.setting, {})[run.seed] = folder
    lines = []
    for setting, folders in settings.items():
        facts = [json.loads((folder / "summary.json").read_text()) for folder in folders.values()]
        cells = {"setting": setting, "seeds": " ".join(map(str, folders))}
        for tag in sorted({tag for fact in facts for tag in fact if tag.startswith("test/")}):
            percent = 100 if tag == "test/accuracy" else 1
            cells[tag + (", %" if percent > 1 else "")] = spread([percent * fact[tag] for fact in facts if tag in fact])
        if len(cells) == 2:  # a task without a test split
            last = [
                curve(read_metrics(folder / "metrics.csv"), "train/accuracy")[1][-LAST:] for folder in folders.values()
            ]
            cells |= {
                f"accuracy % (last {LAST} iterations)": spread([100 * fact["accuracy"] for fact in facts]),
                "std over iterations": f"{statistics.mean(100 * statistics.pstdev(values) for values in last):.3f}",
                "solved at": ", ".join(str(fact["solved_at"] or "–") for fact in facts),
            }
        cells["steps/s"] = f"{statistics.mean(fact['steps_per_second'] or 0 for fact in facts):.1f}"
        head = [f"| {' | '.join(cells)} |", "| " + " | ".join("---" for _ in cells) + " |"]
        lines += [*([] if head[0] in lines else ["", *head]), f"| {' | '.join(cells.values())} |"]
    lines = lines[1:]
    table = "\n".join(lines)
    note = "Mean ± standard deviation (n − 1) over the seeds' means; std over iterations: the mean of each seed's own."
    (out / "table.md").write_text(f"{table}\n\n{note}\n")
    draw_bands(settings, out / "curves.png")
    print(f"\n{table}\n\n{note}\n{out / 'table.md'}\n{out / 'curves.png'}")


def short_names(values: list[str]) -> dict[str, str]:
    """Return what a table calls each value: a class by the last part of its import path, if that tells them apart."""
    short = {
        value: value.rpartition(".")[2] if re.fullmatch(r"[A-Za-z_]\w*(\.\w+)+", value) else value for value in values
    }
    return short if len(set(short.values())) == len(short) else {value: value for value in values}


def spread(values: list[float]) -> str:
    """Return the mean, and the standard deviation (n − 1) of several."""
    return f"{statistics.mean(values):.3f}" + (f" ± {statistics.stdev(values):.3f}" if len(values) > 1 else "")


def headline_of(run: Path) -> str:
    """Return the quantity by which a finished run is judged."""
    return json.loads((run / "summary.json").read_text()).get("headline", "accuracy")


def draw_bands(settings: dict[str, dict[int, Path]], path: Path) -> None:
    """Draw each training's headline quantity: the mean over the seeds in a band of one standard deviation."""
    import numpy as np
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4 + 0.25 * len(settings)), layout="constrained")
    axes = figure.subplots()
    headlines = []
    for number, (setting, folders) in enumerate(settings.items()):
        headlines.append(headline := headline_of(next(iter(folders.values()))))
        curves = [curve(read_metrics(folder / "metrics.csv"), f"train/{headline}")[1] for folder in folders.values()]
        shortest = min(map(len, curves))
        values = np.array([values[:shortest] for values in curves])  # [seeds, iterations]
        mean, std = values.mean(0), values.std(0, ddof=min(1, len(curves) - 1))
        upper = np.minimum(mean + std, 1) if headline == "accuracy" else mean + std
        axes.plot(
            np.arange(1, shortest + 1),
            mean,
            line(number),
            linewidth=1,
            color=colour(number),
            label=f"{setting}, {len(curves)} seed{'s' * (len(curves) > 1)}",
        )
        axes.fill_between(np.arange(1, shortest + 1), mean - std, upper, color=colour(number), alpha=0.25)
    axes.set(xlabel="iteration", ylabel=f"training {', '.join(dict.fromkeys(headlines))}, mean ± std over seeds")
    axes.grid(alpha=0.3)
    figure.legend(frameon=False, loc="outside lower center")
    figure.savefig(path, dpi=120)


def _options() -> argparse.ArgumentParser:
    parser = LineParser("study.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", action="append", required=True, help="a config of train.py; may be given again")
    parser.add_argument("--seeds", nargs="+", type=int, default=[42], help="values of seed_everything (default: 42)")
    parser.add_argument("--vary", nargs="+", action="append", metavar=("KEY", "VALUE"), help="a setting and its values")
    parser.add_argument("--jobs", type=_positive, default=1, help="processes at a time (default: 1)")
    parser.add_argument("--name", type=_folder_name, help="name of the results' folder (default: the configs' names)")
    return parser


def _folder_name(word: str) -> str:
    if Path(word).name != word:
        raise argparse.ArgumentTypeError(f"{word!r} is not the name of one folder")
    return word


def _positive(word: str) -> int:
    if not word.isdecimal() or int(word) == 0:
        raise argparse.ArgumentTypeError(f"{word!r} is not a positive number")
    return int(word)


if __name__ == "__main__":
    sys.exit(main())
