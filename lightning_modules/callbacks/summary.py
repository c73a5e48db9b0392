"""The lines printed at the start and at the end of a run, and summary.json."""

import json
import time
from pathlib import Path
from typing import Any

import yaml
from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import Callback

from lightning_modules.callbacks.solved import Solved
from lightning_modules.callbacks.tensorboard import RunTensorBoard
from lightning_modules.commands import command_line, program
from lightning_modules.dotted_keys import flat
from lightning_modules.environment import cpu_seconds, environment
from lightning_modules.files import write_whole
from lightning_modules.run_files import LAST_STEPS, curve, read_metrics


class Summary(Callback):
    """Print the start of a run, and at its end a table: primary metric and loss over the last 1000 steps, speed, paths.

    Args:
        run: the run's folder.
        solved: the callback that records when the task was solved.
        config: the run's settings as YAML: kept as config.yaml, and shown beside its accuracy in TensorBoard's HParams.
    """

    def __init__(self, run: Path, solved: Solved, config: str) -> None:
        self.run = run
        self.solved = solved
        self.config = config
        self._start = 0.0
        self._first_step = 0
        self._cpu_seconds_before = 0.0  # of the processes that this run continues
        self._steps_per_second: float | None = None
        self._environment: dict[str, Any] = {}

    @property
    def started(self) -> bool:
        """Whether training has started, with all states restored."""
        return self._start > 0

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Record commit, versions and machine: at the end of a long run another commit may be checked out."""
        self._environment = environment(trainer.strategy.root_device)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Print the line of the start."""
        self._start = time.monotonic()
        self._first_step = trainer.global_step
        if not trainer.is_global_zero:
            return
        write_whole(self.run / "config.yaml", self.config)
        (self.run / "summary.json").unlink(missing_ok=True)  # until this run has ended again
        weights = sum(parameter.numel() for parameter in pl_module.parameters())
        device = pl_module.device.type if trainer.world_size == 1 else f"{trainer.world_size} × {pl_module.device.type}"
        begin = f" · from step {self._first_step}" if self._first_step else ""
        print(
            f"{self.run.parent.name} · {weights:,} weights · {device}, {trainer.precision}{begin} · {self.run}",
            flush=True,
        )

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stop the clock."""
        steps = trainer.global_step - self._first_step
        self._steps_per_second = steps / (time.monotonic() - self._start) if steps else None

    def state_dict(self) -> dict[str, Any]:
        """Return the CPU time so far for the checkpoint."""
        return {"cpu_seconds": self._cpu_seconds_before + cpu_seconds()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the CPU time of a continued run; the test of best.ckpt, which is older, does not change it."""
        if not self.started:
            self._cpu_seconds_before = state_dict["cpu_seconds"]

    def report(self, trainer: Trainer, test_metrics: dict[str, float]) -> None:
        """Print the table, write summary.json, and log the run to TensorBoard's HParams."""
        facts = self.facts(trainer, test_metrics)
        write_whole(self.run / "summary.json", json.dumps(facts, indent=2) + "\n")
        rows = self._rows(trainer, facts)
        logged = {tag for row in read_metrics(self.run / "metrics.csv") for tag in row}
        tags = [f"{split}/{facts['primary_metric']}" for split in ("val", "train")]
        for logger in trainer.loggers:
            if isinstance(logger, RunTensorBoard):
                logger.log_end(
                    hyperparameters(yaml.safe_load(self.config)), [tag for tag in tags if tag in logged][:1], rows
                )
        width = max(len(name) for name, _ in rows)
        print("\n".join(f" {name:<{width}}  {value}" for name, value in rows), flush=True)

    def facts(self, trainer: Trainer, test_metrics: dict[str, float]) -> dict[str, Any]:
        """Return the content of summary.json."""
        rows = read_metrics(self.run / "metrics.csv")
        primary_metric = getattr(trainer.lightning_module, "primary_metric", "accuracy")
        facts: dict[str, Any] = {"steps": trainer.global_step, "primary_metric": primary_metric}
        for name in (primary_metric, "loss"):
            _, values = curve(rows, f"train/{name}")
            if values:
                last = values[-LAST_STEPS:]
                facts |= {name: sum(last) / len(last), "iterations": len(last)}
        facts |= {"solved_at": self.solved.iteration, "steps_per_second": self._steps_per_second}
        return facts | {"cpu_seconds": self._cpu_seconds(trainer), **test_metrics, "environment": self._environment}

    def _cpu_seconds(self, trainer: Trainer) -> float | None:
        """Return the CPU seconds of the run and of the processes that it continues; lost steps do not count.

        None if it is not known: on a GPU, with several processes, or if the checkpoint that it continues has none.
        """
        unknown = self._first_step > 0 and not self._cpu_seconds_before
        if unknown or trainer.world_size > 1 or trainer.strategy.root_device.type != "cpu":
            return None
        return round(self._cpu_seconds_before + cpu_seconds(), 1)

    def _rows(self, trainer: Trainer, facts: dict[str, Any]) -> list[tuple[str, str]]:
        """Return name and value of each row of the table at the end of a run."""
        rows = []
        last = f"over the last {facts.get('iterations')} iterations"
        held_out = trainer.val_dataloaders is not None or trainer.test_dataloaders is not None
        train = "train/" if held_out else ""
        if "accuracy" in facts:
            rows.append((f"{train}accuracy", f"{100 * facts['accuracy']:.2f} % {last}"))
            if facts["solved_at"] or not held_out:  # a task with held-out data is not one to be solved
                bar, window = self.solved.accuracy, self.solved.window
                at = f"at iteration {facts['solved_at']}" if facts["solved_at"] else "not yet"
                rows.append(("solved", f"{at} (mean accuracy of {window} steps ≥ {bar:g})"))
        elif facts["primary_metric"] in facts and facts["primary_metric"] != "loss":
            rows.append((f"{train}{facts['primary_metric']}", f"{facts[facts['primary_metric']]:.4f} {last}"))
        if "loss" in facts:
            rows.append((f"{train}loss", f"{facts['loss']:.4f} {last}"))
        for tag in sorted(facts):
            if tag.startswith("test/"):
                rows.append((tag, f"{facts[tag]:.4f}"))
        if facts["steps_per_second"]:
            rows.append(("speed", f"{facts['steps_per_second']:.1f} steps/s"))
        for made in sorted([*self.run.glob("*.png"), *self.run.glob("*.md")]):  # curves, nodes, attention, samples
            rows.append((made.stem, str(made)))
        for name, file in {"checkpoint": "last.ckpt", "best": "best.ckpt", "numbers": "metrics.csv"}.items():
            if (self.run / file).exists():
                rows.append((name, str(self.run / file)))
        rows.append(("dashboard", command_line(program("tensorboard"), "--logdir", str(self.run.parent.parent))))
        return rows


def hyperparameters(config: dict[str, Any]) -> dict[str, Any]:
    """Return the settings of seed, model, data and length by short names, for TensorBoard."""
    chosen = (
        "seed_everything",
        "model.",
        "data.",
        "trainer.max_steps",
        "trainer.gradient_clip_val",
        "trainer.precision",
    )
    return {
        key.replace("init_args.", "").removesuffix(".class_path"): value
        for key, value in flat(config).items()
        if key.startswith(chosen) and isinstance(value, int | float | str)
    }
