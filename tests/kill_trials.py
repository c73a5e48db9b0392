"""Kills runs of one kind of data at many points, lets them go on, and compares them with an unbroken run.

python -m tests.kill_trials KIND KILLS SEED    # in an empty folder; prints one line of JSON

Every run is a fork of this process, which has everything imported and has computed nothing.
"""

import collections
import json
import os
import random
import re
import shutil
import signal
import sys
import threading
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import torch

from lightning_modules.callbacks.curves import draw_curves
from lightning_modules.cli.main import main
from lightning_modules.cli.settings import parse_settings

ROOT = Path(__file__).resolve().parent.parent
BOOK = ["book_lstm", "--data.path", "text.txt", "--data.book", "null", "--data.batch_size", "3", "--data.length", "7"]
BOOK += ["--model.network.hidden_size", "6", "--model.network.embedding_size", "4", "--model.network.dropout", "0.3"]
BOOK += ["--trainer.max_steps", "12", "--data.test_fraction", "0.1", "--data.val_fraction", "0.1"]
KARATE = ["karate_gcn", "--trainer.max_epochs", "9", "--checkpoints.every_n_steps", "3"]
KINDS: dict[str, list[str]] = {
    "toy task": ["palindrome_lstm", "--data.batch_size", "4", "--data.length", "2", "--model.network.hidden_size", "4",
                 "--model.network.dropout", "0.5", "--trainer.max_steps", "12", "--checkpoints.every_n_steps", "4"],
    "book, windows": [*BOOK, "--data.feed", "windows", "--trainer.val_check_interval", "2",
                      "--checkpoints.every_n_steps", "4"],
    "book, streams": [*BOOK, "--trainer.val_check_interval", "5", "--checkpoints.every_n_steps", "3"],
    "node graph": [*KARATE, "--trainer.check_val_every_n_epoch", "2"],
    "neighbourhoods": [*KARATE, "--model.network", "lightning_modules.networks.graph_sage.GraphSAGE",
                       "--data.num_neighbors", "[2, 2]", "--data.batch_size", "1", "--trainer.max_epochs", "3",
                       "--trainer.accumulate_grad_batches", "3", "--checkpoints.every_n_steps", "1"],
    "molecules": ["molecules", "--data.name", "MUTAG", "--model.network.hidden_size", "4", "--data.batch_size", "40",
                  "--trainer.max_epochs", "3", "--checkpoints.every_n_steps", "2"],
    "links": ["knowledge_graph", "--data.path", ".", "--data.batch_size", "8", "--trainer.max_epochs", "3",
              "--checkpoints.every_n_steps", "2", "--trainer.val_check_interval", "2"],
    "texts": ["text_graph_lstm", "--data.path", "texts.tsv", "--data.batch_size", "4", "--trainer.max_epochs", "3",
              "--checkpoints.every_n_steps", "2"],
}  # fmt: skip
# Where a kill may do harm: at a row, a file, a checkpoint, the end of a step, an epoch or the training; in the test.
TICKLISH = re.compile(
    r"_write|_write_row|_rewrite|write_whole|replace|save|save_checkpoint|_save_checkpoint|step_done|on_advance_end"
    r"|on_validation_end|on_train_end|on_fit_end|draw_curves|_test|test_step|on_test_end|report|log_end|facts"
)
LIGHTNING = ("loops", "callbacks", "trainer")


def write_data() -> None:
    """Write the texts and graphs that need no data set."""
    Path("text.txt").write_text("".join(chr(97 + (k * k * 7 + k // 3) % 11) for k in range(600)))
    draw = random.Random(1)
    triples = [f"e{draw.randrange(9)}\tr{draw.randrange(3)}\te{draw.randrange(9)}" for _ in range(60)]
    triples = list(dict.fromkeys(triples))
    for name, part in {"train": triples[:-8], "valid": triples[-8:-4], "test": triples[-4:]}.items():
        Path(f"{name}.txt").write_text("".join(f"{triple}\n" for triple in part))
    lines = []
    for number in range(40):
        label = number % 2
        words = " ".join(draw.choice(("sun wind day night", "rain snow day night")[label].split()) for _ in range(6))
        lines.append(f"{'test' if number % 5 == 0 else 'train'}\t{'ab'[label]}\t{words}\n")
    Path("texts.tsv").write_text("".join(lines))


class Points:
    """Counts the calls of functions of the project, Lightning's loops and pathlib; sends a signal at one of them.

    Args:
        at: the number of the call, from 1; 0 for none.
        ticklish: whether only those count at which a kill may do harm.
        signum: the signal.
    """

    def __init__(self, at: int = 0, ticklish: bool = False, signum: int = 0) -> None:
        self.at, self.ticklish, self.signum = at, ticklish, signum
        self.counts = {"all": 0, "ticklish": 0}
        self._known: dict[CodeType, list[str]] = {}

    def __call__(self, frame: FrameType, event: str, argument: Any) -> None:
        kinds = self._known.get(frame.f_code)
        if kinds is None:
            kinds = self._known[frame.f_code] = self._kinds(frame.f_code)
        for kind in kinds:
            self.counts[kind] += 1
        chosen = "ticklish" if self.ticklish else "all"
        if chosen in kinds and self.counts[chosen] == self.at:
            os.kill(os.getpid(), self.signum)

    def _kinds(self, code: CodeType) -> list[str]:
        file = Path(code.co_filename)
        ours = file.is_relative_to(ROOT / "lightning_modules") or file.is_relative_to(ROOT / "datamodules")
        theirs = "pytorch_lightning" in file.parts and file.parent.name in LIGHTNING
        if not (ours or theirs or file.name == "pathlib.py"):
            return []
        return ["all", "ticklish"] if TICKLISH.fullmatch(code.co_name) else ["all"]


def run(words: list[str], points: Points) -> int:
    """Run train.py in a fork, with its output in out.txt; return its status, negative for a signal.

    The fork writes the numbers of points that it passed to points.txt.
    """
    child = os.fork()
    if child == 0:
        file = os.open("out.txt", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(file, 1)
        os.dup2(file, 2)
        status = 70
        try:
            sys.settrace(points)
            status = main(words)
        except BaseException as error:
            sys.settrace(None)
            import traceback

            traceback.print_exception(error)
        finally:
            sys.settrace(None)
            Path("points.txt").write_text(json.dumps(points.counts))
            sys.stdout.flush()
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def warm_up(words: list[str]) -> None:
    """Do once what every fork would do: parse the words, draw a picture. Nothing that starts a thread."""
    parse_settings(words)
    Path("metrics.csv").write_text("step,train/loss\n0,1.0\n1,0.5\n")
    draw_curves(Path("."), "loss")


def newest(folder: Path) -> Path | None:
    """Return the newest run."""
    return max(folder.glob("version_*"), key=lambda run: int(run.name[8:]), default=None)


def left(run: Path) -> dict[str, Any]:
    """Return what an unbroken run and a continued one must have in common."""
    summary = json.loads((run / "summary.json").read_text())
    del summary["steps_per_second"], summary["environment"], summary["cpu_seconds"]
    same: dict[str, Any] = {"summary": summary, "metrics": (run / "metrics.csv").read_bytes()}
    for name in ("last.ckpt", "best.ckpt"):
        if (run / name).exists():
            saved = torch.load(run / name, weights_only=True)
            same[name] = saved["global_step"], saved["epoch"], {k: v.tolist() for k, v in saved["state_dict"].items()}
    same["files"] = sorted(path.name for path in run.iterdir() if not path.name.startswith((".", "events")))
    return same


def trials(kind: str, kills: int, seed: int) -> dict[str, Any]:
    """Kill runs until there were so many kills; return counts, and what differed."""
    config, *more = KINDS[kind]
    words = ["--config", f"{config}.yaml", *more, "--trainer.accelerator", "cpu"]
    folder, draw = Path("runs") / config, random.Random(f"{kind} {seed}")
    warm_up(words)
    status = run(words, Points())
    if status != 0:
        return {"kind": kind, "problems": [f"unbroken: {status} {Path('out.txt').read_text()[-2000:]}"]}
    lengths = json.loads(Path("points.txt").read_text())
    unbroken = left(folder / "version_0")
    counts: collections.Counter[str] = collections.Counter()
    problems: list[str] = []
    while counts["SIGKILL"] < kills and len(problems) < 5:
        shutil.rmtree("runs")
        history = []
        while True:
            ticklish, signum = draw.random() < 0.6, draw.choice([signal.SIGKILL] * 4 + [signal.SIGTERM, signal.SIGINT])
            last = newest(folder)
            go_on = ["--ckpt_path", "last"] if last is not None and (last / "last.ckpt").exists() else []
            passed = lengths["ticklish" if ticklish else "all"] * (0.6 if go_on else 1)
            at = draw.randint(1, int(passed)) if counts["SIGKILL"] < kills else 0
            status = run([*words, *go_on], Points(at, ticklish, signum))
            out = Path("out.txt").read_text()
            print(kind, counts["SIGKILL"], status, file=sys.stderr, flush=True)
            history.append(f"{signal.Signals(signum).name} at {'ticklish ' * ticklish}{at}: {status}")
            last = newest(folder)
            if status == -signal.SIGKILL:
                counts["SIGKILL"] += 1
            elif status in (130, 143) and "Traceback" not in out and out.count("stopped") == 1:
                counts["signals"] += 1
            elif status == 0:
                counts["runs"] += 1
                break
            elif status == 2 and "already" in out and last is not None and (last / "summary.json").exists():
                counts["runs"] += 1  # stopped after its report
                break
            else:
                problems.append(f"{history}: {out[-2000:]}")
                break
        if not problems and last is not None:
            differing = [name for name, value in left(last).items() if value != unbroken[name]]
            problems += [f"{history}: {differing} differ"] if differing else []
    return {"kind": kind, **counts, "points": lengths, "problems": problems}


if __name__ == "__main__":
    assert threading.active_count() == 1
    write_data()
    print(json.dumps(trials(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))))
