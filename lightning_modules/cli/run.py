"""One run of train.py, from the checkpoint that it starts from to its report."""

import contextlib
import sys
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from pytorch_lightning import LightningDataModule
from pytorch_lightning.callbacks import Callback
from pytorch_lightning.utilities.exceptions import MisconfigurationException
from pytorch_lightning.utilities.model_helpers import is_overridden

from lightning_modules.callbacks.best_checkpoint import BestCheckpoint
from lightning_modules.callbacks.cuda_graphs import CudaGraphs
from lightning_modules.callbacks.curves import Curves
from lightning_modules.callbacks.early_stopping import StayStopped, stopped_early
from lightning_modules.callbacks.metrics_csv import MetricsCSV, check_rows
from lightning_modules.callbacks.progress import StepProgress
from lightning_modules.callbacks.stop_on_signal import StopOnSignal
from lightning_modules.callbacks.summary import Summary
from lightning_modules.callbacks.tensorboard import RunTensorBoard
from lightning_modules.checkpoint_file import read_checkpoint
from lightning_modules.cli.checkpoint_checks import check_carried, check_model, check_split, check_training
from lightning_modules.cli.checkpoint_io import AtomicCheckpointIO
from lightning_modules.cli.foreign_errors import early_stopping_errors, memory_errors
from lightning_modules.cli.loops import RunLoop
from lightning_modules.cli.precision import slowness
from lightning_modules.cli.predict import PredictStage
from lightning_modules.cli.run_folder import drop_run, find_last, new_run, running
from lightning_modules.cli.settings import TrainCLI
from lightning_modules.cli.trainer import RunTrainer, is_first_process
from lightning_modules.commands import again
from lightning_modules.errors import UserError
from lightning_modules.signals import Stopped, signals
from lightning_modules.training_system import TrainingSystem


class Run:
    """A run: its folder, the lock on the folder, the checkpoint that it starts from, and its trainer.

    `with Run(cli) as run: run.build(); run.carry_out()`. Entering finds the checkpoint and locks the folder of a run
    that is continued. `build` makes the objects, checks the checkpoint, and claims the folder of a new run. Leaving
    unlocks the folder; if the run fails before its first step, the folder of a new run is removed.

    Args:
        cli: the settings of the command.

    Attributes:
        folder: where the run writes; None for an evaluation, for `fast_dev_run`, and in all processes but the first.
        checkpoint: the file that the run starts from, if any.
        trainer: set by `build`.
    """

    trainer: RunTrainer
    _predict_stage: PredictStage

    def __init__(self, cli: TrainCLI) -> None:
        self.cli = cli
        self.stage, self.training = cli.config.stage, cli.config.stage == "fit"
        self.folder: Path | None = None
        self.checkpoint: Path | None = None
        self._is_new = False
        self._lock = contextlib.ExitStack()
        self._summary: Summary | None = None
        self._loop: RunLoop | None = None

    def __enter__(self) -> Self:
        path = self.cli.config.ckpt_path
        if not self.training and path is None:
            does = "test needs the checkpoint to evaluate" if self.stage == "test" else "predict needs a checkpoint"
            raise UserError(f"--stage {does}: --ckpt_path runs/…/last.ckpt")
        if path is not None and not Path(path).name:
            raise UserError(f"--ckpt_path names no file: {path!r}; last continues this config's newest run")
        if path == "last":
            self.checkpoint = find_last(self.cli.runs_folder, self.cli.values)
            if self.training and is_first_process():
                self.folder = self.checkpoint.parent
                self._lock.enter_context(running(self.folder))
        elif path is not None:
            self.checkpoint = Path(path)
        return self

    def build(self) -> None:
        """Make data, model and trainer, check the checkpoint, and claim the folder of a new run."""
        content = {} if self.checkpoint is None else read_checkpoint(self.checkpoint)
        if self.stage == "predict":
            config = self.cli.config
            self._predict_stage = PredictStage(self.checkpoint, content, config.examples, config.predictions)
            self.cli.build(self._predict_stage.read_examples)
            self._predict_stage.check(self.cli.model, self.cli.datamodule)
        else:
            self.cli.build()
        if self.checkpoint is not None:
            self._check_checkpoint(content, self.checkpoint)
        if self.stage == "test" and not has_split(self.cli.datamodule, "test"):
            raise UserError(f"{type(self.cli.datamodule).__name__} has no test split; --stage fit trains")
        if not self.training or self.cli.config.trainer.fast_dev_run:
            self.trainer = self._make_trainer(callbacks=self._progress(), logger=False)
        else:
            self._build_training(content)

    def carry_out(self) -> None:
        """Train, test and report; with --stage test, test only; with --stage predict, write predictions."""
        slow = slowness(str(self.trainer.precision), self.trainer.strategy.root_device.type)
        if slow and is_first_process():
            print(f"train.py: warning: {slow}", file=sys.stderr, flush=True)
        if self.stage == "predict":
            self._predict()
        elif self.stage == "test":
            self._test(self.checkpoint, verbose=True)
        else:
            self._fit()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        with self._lock:
            if isinstance(error, Stopped):
                error.line = self._where_it_stopped()
            if isinstance(error, UserError) and self._started:
                error.status = 1
            if error is not None and self._is_new and self.folder is not None and not self._started:
                with signals.uninterrupted():
                    drop_run(self.folder)

    @property
    def _started(self) -> bool:
        """Whether the training of this run has begun, with all states restored."""
        return self._summary is not None and self._summary.started

    def _build_training(self, content: dict[str, Any]) -> None:
        """Claim the folder of a new run, and make the trainer with what a run writes and saves.

        Args:
            content: of the checkpoint; empty if there is none.
        """
        if self.folder is None and is_first_process():
            with signals.uninterrupted():
                self.folder, self._is_new = new_run(self.cli.runs_folder), True
            self._lock.enter_context(running(self.folder))
        folder = self.folder or self.cli.runs_folder  # the other processes write nothing
        self._summary = Summary(folder, self.cli.config_init.solved, self.cli.yaml)
        stop = StopOnSignal(self.cli.config_init.checkpoints)
        self.trainer = self._make_trainer(
            callbacks=self._callbacks(folder, self._summary, stop),
            logger=self._loggers(folder, content.get("global_step", 0)),
            plugins=[*as_list(self.cli.config_init.trainer.plugins), AtomicCheckpointIO()],
        )
        if self.checkpoint is not None:
            check_carried(content, self.cli.datamodule, self.trainer.world_size, self.checkpoint)
        self._loop = self.trainer.fit_loop = RunLoop(self.trainer.fit_loop, stop.step_done)

    def _predict(self) -> None:
        """Predict the examples with the checkpoint, and write the predictions."""
        outputs = self.trainer.predict(
            self.cli.model, self.cli.datamodule, ckpt_path=self.checkpoint, weights_only=True
        )
        if is_first_process():
            self._predict_stage.write(outputs or [], self.cli.datamodule)

    def _fit(self) -> None:
        """Train, test the best weights, and report."""
        with memory_errors(self.cli.values), early_stopping_errors():
            self.trainer.fit(self.cli.model, self.cli.datamodule, ckpt_path=self.checkpoint, weights_only=True)
        # If the checkpoint had all steps, nothing was trained. A run that stopped before its test and report still gets
        # them; without them to do, there is nothing left for this command.
        if self.checkpoint is not None and self.folder is not None and not self._started:
            at = self.trainer.global_step
            if self._is_new or (self.folder / "summary.json").exists():
                raise UserError(f"{self.checkpoint} is at step {at} already, where its training ends")
        metrics = {}
        if has_split(self.cli.datamodule, "test"):
            best = next((each for each in self.trainer.checkpoint_callbacks if isinstance(each, BestCheckpoint)), None)
            metrics = self._test((best and best.best_model_path) or None, verbose=False)
        if self._summary is not None and self.folder is not None:
            self._summary.report(self.trainer, metrics)
            self._print_how_to_continue()

    def _check_checkpoint(self, content: dict[str, Any], path: Path) -> None:
        """Check that the run can start from the content of its checkpoint."""
        check_model(content, self.cli.model, path)
        if self.cli.config.examples is None:
            check_split(content, self.cli.datamodule, path)
        if self.training:
            check_training(content, path)
            self._refuse_finished(content)
            if self.folder is not None:
                check_rows(self.folder / "metrics.csv", content, path)

    def _refuse_finished(self, content: dict[str, Any]) -> None:
        """Refuse a finished run with no step left: it would train nothing and overwrite its config and summary."""
        if self.folder is not None and not (self.folder / "summary.json").exists():
            return
        trainer = self.cli.config.trainer
        for unit, limit, count in (
            ("step", trainer.max_steps, content["global_step"]),
            ("epoch", trainer.max_epochs, content.get("epoch")),
        ):
            if isinstance(limit, int) and isinstance(count, int) and 0 <= limit <= count:
                more = f"to go on, raise --trainer.max_{unit}s ({limit})"
                raise UserError(f"{self.checkpoint} is at {unit} {count} already; {more}")
        match content:
            case {"callbacks": {"Solved": {"iteration": int(step)}}} if self.cli.config.solved.stop:
                raise UserError(f"{self.checkpoint} was solved at step {step}; to go on, give --solved.stop false")
        if stopped_early(content, as_list(self.cli.config_init.trainer.callbacks)):
            raise UserError(
                f"{self.checkpoint} was ended by EarlyStopping at step {content['global_step']}; to go on, take it "
                f"out of trainer.callbacks and give --ckpt_path {self.checkpoint}"
            )

    def _callbacks(self, folder: Path, summary: Summary, stop: StopOnSignal) -> list[Callback]:
        """Return a run's own callbacks. Their order matters: a step is counted and written before it is saved."""
        config, model = self.cli.config_init, self.cli.model
        config.checkpoints.path = folder / "last.ckpt"
        callbacks = [*self._progress(), StayStopped(), summary, config.solved, MetricsCSV(folder / "metrics.csv")]
        callbacks += [Curves(folder), CudaGraphs(), stop]
        if has_split(self.cli.datamodule, "val"):
            monitor, mode = (getattr(model, name, getattr(TrainingSystem, name)) for name in ("monitor", "mode"))
            callbacks.append(BestCheckpoint(folder, monitor, mode))
        return [*callbacks, config.checkpoints]

    def _progress(self) -> list[Callback]:
        return [] if self.cli.config.trainer.enable_progress_bar is False else [StepProgress()]

    def _loggers(self, folder: Path, first_step: int) -> Any:
        chosen = self.cli.config_init.trainer.logger
        if chosen is False:
            return False
        own = RunTensorBoard(folder, first_step)
        return own if chosen in (None, True) else [own, *as_list(chosen)]

    def _make_trainer(self, callbacks: list[Callback], **options: Any) -> RunTrainer:
        settings = {**self.cli.config_init.trainer, **options}
        settings["callbacks"] = [*as_list(self.cli.config_init.trainer.callbacks), *callbacks]
        try:
            return RunTrainer(**settings)
        except MisconfigurationException as error:  # from callbacks, loggers and plugins of the user's
            raise UserError(f"trainer: {' '.join(str(error).split())}") from error

    def _test(self, checkpoint: Path | str | None, verbose: bool) -> dict[str, float]:
        metrics = self.trainer.test(
            self.cli.model, self.cli.datamodule, ckpt_path=checkpoint, weights_only=True, verbose=verbose
        )
        return {name: float(value) for name, value in metrics[0].items()} if metrics else {}  # an empty split

    def _where_it_stopped(self) -> str | None:
        """Return the line after a signal: which step was reached and saved, how to continue; None before any step."""
        if self.folder is None or self._loop is None or not self._loop.started or not self.trainer.global_step:
            return None
        step, saved = self.trainer.global_step, self.cli.config_init.checkpoints.saved_step
        if not saved:
            return f"stopped after step {step}, before anything was saved"
        command = again(self.cli.arguments, ckpt_path="last")
        at = "saved" if saved == step else f"saved at step {saved}"
        return f"stopped after step {step}, {at}; to continue: {command}"

    def _print_how_to_continue(self) -> None:
        """Print the command for the remaining steps of a run that ended because its task was solved."""
        solved, steps = self.cli.config_init.solved, self.cli.config.trainer.max_steps
        if solved.stop and solved.iteration is not None and solved.iteration != steps:
            rest = f"all {steps} steps" if steps > 0 else "the whole training"
            command = again(self.cli.arguments, solved__stop="false", ckpt_path="last")
            print(f"ended when solved; for {rest}: {command}", flush=True)


def has_split(data: LightningDataModule, split: str) -> bool:
    """Return whether a data module has a "val" or "test" split. A loader cannot be made before `setup`, and is not."""
    is_empty = getattr(data, "is_empty", None)  # our own know it from the start
    return is_overridden(f"{split}_dataloader", data, LightningDataModule) and not (is_empty and is_empty(split))


def as_list(value: Any) -> list[Any]:
    """Return a setting that may be one object, several or none as a list."""
    if value is None:
        return []
    return list(value) if isinstance(value, list | tuple) else [value]
