"""The command line of train.py: a config and overrides in; a trained, tested and reported run out."""

import contextlib
import errno
import logging
import os
import re
import sys
import threading
import warnings
from pathlib import Path
from pydoc import locate
from typing import Any, Literal, cast

import yaml
from jsonargparse.typing import restricted_number_type
from pytorch_lightning import LightningDataModule, Trainer
from pytorch_lightning.callbacks import LambdaCallback
from pytorch_lightning.cli import LightningArgumentParser, LightningCLI
from pytorch_lightning.utilities.exceptions import MisconfigurationException
from pytorch_lightning.utilities.model_helpers import is_overridden
from pytorch_lightning.utilities.rank_zero import rank_zero_only

from lightning_modules.callbacks.best_checkpoint import BestCheckpoint
from lightning_modules.callbacks.checkpoints import Checkpoints
from lightning_modules.callbacks.curves import Curves
from lightning_modules.callbacks.early_stopping import StayStopped, stopped_early
from lightning_modules.callbacks.metrics_csv import MetricsCSV, check_rows
from lightning_modules.callbacks.progress import StepProgress
from lightning_modules.callbacks.solved import Solved
from lightning_modules.callbacks.stop_on_signal import StopOnSignal
from lightning_modules.callbacks.summary import Summary
from lightning_modules.callbacks.tensorboard import RunTensorBoard
from lightning_modules.checkpoint_file import read_checkpoint
from lightning_modules.cli.checkpoint_io import (
    AtomicCheckpointIO,
    check_carried,
    check_fits,
    check_optimizers,
    check_split,
)
from lightning_modules.cli.foreign_errors import as_mistakes, from_restoring
from lightning_modules.cli.loops import RunLoop
from lightning_modules.cli.parser import OneLineParser, config_first, gives_setting, plain
from lightning_modules.cli.precision import RunTrainer, faster_precision, slowness
from lightning_modules.cli.run_folder import drop_run, find_last, new_run, running
from lightning_modules.cli.settings_check import check_groups, check_settings
from lightning_modules.commands import again
from lightning_modules.errors import UserError
from lightning_modules.signals import Stopped, signals
from lightning_modules.training_system import TrainingSystem

# What a data module knows of its data and a network's constructor may ask for.
DATA_FACTS = (
    "vocab_size", "vocabulary", "num_classes", "num_features", "num_edge_features", "num_outputs", "num_nodes",
    "num_relations",
)  # fmt: skip
WRITING = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)  # what only a writer meets
SYSTEM_FACTS = ("target_mean", "target_std")  # likewise, for a training system's

Seed = restricted_number_type("Seed", int, [(">=", 0), ("<", 2**32)], docstring="a seed that every generator takes")

# Lightning's advice that does not apply here, by its beginning.
IRRELEVANT_WARNINGS = (
    "The 'train_dataloader' does not have many workers",  # batches are made faster than workers could hand them over
    "You defined a `validation_step` but have no `val_dataloader`",  # data that are made anew need none
    "Your `IterableDataset` has `__len__` defined",  # true of one process, and there are no workers
    "The 'val_dataloader' does not have many workers",
    "The 'test_dataloader' does not have many workers",
    "You're resuming from a checkpoint that ended before the epoch ended",  # streams go on where they were
    "Checkpoint directory",  # … exists and is not empty: a run has one folder for all that it leaves
    "Be aware that when using `ckpt_path`, callbacks",  # an evaluation needs none of the training's
    "torch.distributed.nn.functional.all_gather is deprecated",  # Lightning's call
    "`isinstance(treespec, LeafSpec)` is deprecated",  # Lightning's own use of torch
    "`ModelCheckpoint(monitor='val/",  # could not find the metric: the run ended before its first validation
    "Sparse CSR tensor support is in beta",
    "Starting from v1.9.0, `tensorboardX` has been removed",
)


class StudyCLI(LightningCLI):
    """LightningCLI with one folder a run, one line an error, and runs that continue exactly.

    Args:
        arguments: the words of the command line, without the program's name.

    Raises:
        UserError: if the command cannot be carried out; nothing has been written then.
    """

    def __init__(self, arguments: list[str]) -> None:
        self.arguments = arguments
        self.run_folder: Path | None = None
        self.made_run = False  # whether run_folder is new, so that it goes again if the run cannot start
        self.in_use = contextlib.ExitStack()  # holds the mark on run_folder, from before its checkpoint is read
        self.checkpoint: Path | None = None
        self.summary: Summary | None = None
        self.loop: RunLoop | None = None
        quiet()
        try:
            super().__init__(
                run=False,
                auto_configure_optimizers=False,
                subclass_mode_model=True,
                subclass_mode_data=True,
                save_config_callback=None,
                trainer_class=RunTrainer,
                parser_class=OneLineParser,
                parser_kwargs={
                    "description": "Train a network on data, both named in a config; any setting can be overridden."
                },
                trainer_defaults={"enable_model_summary": False, "log_every_n_steps": 1},
                args=config_first(arguments),
            )
        except BaseException:
            self._drop_unstarted()
            self.in_use.close()
            raise

    def add_default_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Add what is train.py's own: the seed, what to do, and from which checkpoint."""
        parser.add_argument("--seed_everything", type=Seed, default=42, help="Seeds everything random.")
        parser.add_argument(
            "--stage", type=Literal["fit", "test"], default="fit", help="fit trains; test evaluates --ckpt_path only."
        )
        parser.add_argument(
            "--ckpt_path",
            type=str | None,
            default=None,
            help="Checkpoint to go on from; last: this config's newest run.",
        )

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Add the callbacks that have settings, and hand the facts of the data to the network."""
        parser.add_class_arguments(Checkpoints, "checkpoints")
        parser.add_class_arguments(Solved, "solved")
        if not gives_setting(config_first(self.arguments), "data.seed"):  # one that is given wins
            parser.link_arguments("seed_everything", "data.init_args.seed", compute_fn=int)
        for fact in DATA_FACTS:
            parser.link_arguments(f"data.{fact}", f"model.init_args.network.init_args.{fact}", apply_on="instantiate")
        for fact in SYSTEM_FACTS:
            parser.link_arguments(f"data.{fact}", f"model.init_args.{fact}", apply_on="instantiate")

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        """Parse the words given, not those of sys.argv."""
        self.config = parser.parse_args(args)
        for key in ("model", "data"):
            if not self.config.get(key):
                raise UserError(f"no {key} is given; name a config: --config palindrome_lstm.yaml")
        check_groups(self.config)
        trainer = self.config.trainer
        if trainer.precision == "auto":  # config.yaml has what was chosen, and a continuation must choose the same
            gains = getattr(locate(self.config.model.class_path), "faster_in_bf16", False)
            trainer.precision = faster_precision(trainer.accelerator, gains)
        check_settings(self.config, from_data=(*DATA_FACTS, *SYSTEM_FACTS))

    def before_instantiate_classes(self) -> None:
        """Refuse what does not fit, and find the checkpoint: a run that cannot start must not leave a folder."""
        system, data = (cast(type, locate(self.config[key].class_path)) for key in ("model", "data"))
        takes, gives = getattr(system, "takes", None), getattr(data, "gives", None)
        if takes is not None and gives is not None and takes != gives:
            mismatch = f"{system.__name__} takes {takes}, and {data.__name__} gives {gives}"
            raise UserError(f"{mismatch}; name another with --model or --data")
        path = self.config.ckpt_path
        if self.config.stage == "test" and path is None:
            raise UserError("--stage test needs the checkpoint to evaluate: --ckpt_path runs/…/last.ckpt")
        if path is not None and not Path(path).name:
            raise UserError(f"--ckpt_path names no file: {path!r}; last continues this config's newest run")
        if path == "last":
            self.checkpoint = find_last(self.runs_folder, self.settings)
            if self.config.stage == "fit" and _rank() == 0:
                self.run_folder = self.checkpoint.parent
                self.in_use.enter_context(running(self.run_folder))
        elif path is not None:
            self.checkpoint = Path(path)

    def instantiate_classes(self) -> None:
        """Make model, data and trainer; what their constructors refuse is the user's to mend."""
        try:
            with as_mistakes(self.settings):
                super().instantiate_classes()
        except (ValueError, MisconfigurationException) as error:
            if os.environ.get("JSONARGPARSE_DEBUG"):
                raise
            raise UserError(plain(str(error))) from error

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        """Make the trainer, with the callbacks of a run; its folder is made last but for what needs it."""
        continued_step = 0
        if self.checkpoint is not None:
            content = read_checkpoint(self.checkpoint)
            check_fits(content, self.model, self.checkpoint, training=self.config.stage == "fit")
            check_split(content, self.datamodule, self.checkpoint)
            if self.config.stage == "fit":
                continued_step = content["global_step"]
                self._refuse_what_is_finished(content)
                if self.run_folder is not None:
                    check_rows(self.run_folder / "metrics.csv", content, self.checkpoint)
        if self.config.stage == "test" or self.config.trainer.fast_dev_run:
            if self.config.stage == "test" and not has_split(self.datamodule, "test"):
                raise UserError(f"{type(self.datamodule).__name__} has no test split; --stage fit trains")
            return super().instantiate_trainer(logger=False, **self._with(*self._progress()))
        if self.run_folder is None and _rank() == 0:
            self.run_folder, self.made_run = new_run(self.runs_folder), True
            self.in_use.enter_context(running(self.run_folder))
        run = self.run_folder or self.runs_folder  # further processes write nothing
        callbacks = self._callbacks(run)
        trainer = super().instantiate_trainer(
            logger=self._loggers(run, continued_step),
            plugins=[*_as_list(self.config_init.trainer.plugins), AtomicCheckpointIO()],
            **self._with(*callbacks),
        )
        if self.checkpoint is not None:
            check_carried(content, self.datamodule, trainer.world_size, self.checkpoint)
        stop = next(callback for callback in callbacks if isinstance(callback, StopOnSignal))
        self.loop = trainer.fit_loop = RunLoop(trainer.fit_loop, stop.step_done)
        return trainer

    def run(self) -> None:
        """Train and test, or only test, and report."""
        slow = slowness(str(self.trainer.precision), self.trainer.strategy.root_device.type)
        if slow and _rank() == 0:
            print(f"train.py: warning: {slow}", file=sys.stderr, flush=True)
        with self.in_use:
            try:
                if self.config.stage == "test":
                    self.trainer.test(self.model, self.datamodule, ckpt_path=self.checkpoint, weights_only=True)
                    return
                metrics = self._fit_and_test()
                if self.summary is not None and self.run_folder is not None:  # not fast_dev_run, nor a further process
                    self.summary.report(self.trainer, metrics)
                    self._tell_how_to_go_on(self.summary.solved)
            except BaseException as error:
                if isinstance(error, Stopped):
                    error.line = self._where_it_stopped()
                if isinstance(error, UserError) and self.summary and self.summary.started:
                    error.status = 1
                self._drop_unstarted()
                raise

    def _tell_how_to_go_on(self, solved: Solved) -> None:
        """Name the command for the rest of a run that has ended when its task was solved."""
        steps = self.config.trainer.max_steps
        if solved.stop and solved.iteration is not None and solved.iteration != steps:
            rest = f"all {steps} steps" if steps > 0 else "the whole training"
            command = again(self.arguments, solved__stop="false", ckpt_path="last")
            print(f"ended when solved; for {rest}: {command}", flush=True)

    def _fit_and_test(self) -> dict[str, float]:
        self._fit()
        return self._test() if has_split(self.datamodule, "test") else {}

    def _fit(self) -> None:
        try:
            with as_mistakes(self.settings):
                self.trainer.fit(self.model, self.datamodule, ckpt_path=self.checkpoint, weights_only=True)
        except MisconfigurationException as error:
            raise UserError(" ".join(str(error).split())) from error
        except Exception as error:
            if not from_restoring(error):
                raise
            raise UserError(f"{self.checkpoint} cannot be continued: its states do not fit ({error!r})") from error
        if self.checkpoint is None or self.run_folder is None or self.summary is None or self.summary.started:
            return
        # There was nothing to train. What is left is the report, unless there is one, or the run is another's.
        if self.made_run or (self.run_folder / "summary.json").exists():
            raise UserError(f"{self.checkpoint} is at step {self.trainer.global_step} already, where its training ends")

    def _where_it_stopped(self) -> str | None:
        """Return what to tell after a signal: how far the run is, and how it goes on; None if there is no run."""
        if self.run_folder is None or self.loop is None or not self.loop.started or not self.trainer.global_step:
            return None
        step, saved = self.trainer.global_step, self.config_init.checkpoints.saved_step
        if not saved:
            return f"stopped after step {step}, before anything was saved"
        command = again(self.arguments, ckpt_path="last")
        at = "saved" if saved == step else f"saved at step {saved}"
        return f"stopped after step {step}, {at}; to continue: {command}"

    def _drop_unstarted(self) -> None:
        """Remove the folder of a new run that has not made a step."""
        if self.made_run and self.run_folder is not None and not (self.summary and self.summary.started):
            with signals.uninterrupted():
                drop_run(self.run_folder)

    def _test(self) -> dict[str, float]:
        best = next((each for each in self.trainer.checkpoint_callbacks if isinstance(each, BestCheckpoint)), None)
        path = best.best_model_path if best and best.best_model_path else None
        metrics = self.trainer.test(self.model, self.datamodule, ckpt_path=path, weights_only=True, verbose=False)
        return {name: float(value) for name, value in metrics[0].items()} if metrics else {}  # an empty split

    @property
    def runs_folder(self) -> Path:
        """runs/<last config>, under the current folder or `trainer.default_root_dir`."""
        config_files = [Path(str(path)) for path in self.config.get("config") or []]
        name = config_files[-1].stem if config_files else self.config.model.class_path.rpartition(".")[2].lower()
        if name in (".", ".."):
            raise UserError(f"--config: a run has its config's name, and {config_files[-1].name} gives it none")
        return Path(self.config.trainer.default_root_dir or ".") / "runs" / name

    @property
    def config_yaml(self) -> str:
        """All settings of the command but what to do and from which checkpoint: as --config it makes a fresh run."""
        config = self.config.clone()
        for key in ("stage", "ckpt_path"):
            config.pop(key)
        return self.parser.dump(config)

    @property
    def settings(self) -> dict[str, Any]:
        """All settings of the command as plain values, as config.yaml holds them."""
        return yaml.safe_load(self.config_yaml)

    def _refuse_what_is_finished(self, checkpoint: dict[str, Any]) -> None:
        """Leave a run alone that has all its steps and its report: its summary and config stay true."""
        if self.run_folder is not None and not (self.run_folder / "summary.json").exists():
            return
        for unit, limit, count in (
            ("step", self.config.trainer.max_steps, checkpoint["global_step"]),
            ("epoch", self.config.trainer.max_epochs, checkpoint.get("epoch")),
        ):
            if isinstance(limit, int) and isinstance(count, int) and 0 <= limit <= count:
                more = f"to go on, raise --trainer.max_{unit}s ({limit})"
                raise UserError(f"{self.checkpoint} is at {unit} {count} already; {more}")
        match checkpoint:
            case {"callbacks": {"Solved": {"iteration": int(step)}}} if self.config.solved.stop:
                raise UserError(f"{self.checkpoint} was solved at step {step}; to go on, give --solved.stop false")
        if stopped_early(checkpoint, _as_list(self.config_init.trainer.callbacks)):
            raise UserError(
                f"{self.checkpoint} was ended by EarlyStopping at step {checkpoint['global_step']}; to go on, take it "
                f"out of trainer.callbacks and give --ckpt_path {self.checkpoint}"
            )

    def _with(self, *callbacks: Any) -> dict[str, Any]:
        return {"callbacks": [*_as_list(self.config_init.trainer.callbacks), *callbacks]}

    def _loggers(self, run: Path, continued_step: int) -> Any:
        chosen = self.config_init.trainer.logger
        if chosen is False:
            return False
        own = RunTensorBoard(run, continued_step)
        return own if chosen in (None, True) else [own, *_as_list(chosen)]

    def _callbacks(self, run: Path) -> list[Any]:
        solved: Solved = self.config_init.solved
        checkpoints: Checkpoints = self.config_init.checkpoints
        checkpoints.path = run / "last.ckpt"
        self.summary = Summary(run, solved, self.config_yaml)
        # In this order: a step is counted and written down before it is saved.
        callbacks = [self.summary, solved, MetricsCSV(run / "metrics.csv"), Curves(run), StopOnSignal(checkpoints)]
        if has_split(self.datamodule, "val"):
            monitor, mode = (getattr(self.model, name, getattr(TrainingSystem, name)) for name in ("monitor", "mode"))
            callbacks.append(BestCheckpoint(run, monitor, mode))
        if path := self.checkpoint:  # before a line says that the run has started
            fits = LambdaCallback(on_train_start=lambda trainer, _: check_optimizers(trainer.optimizers, path))
            callbacks.insert(0, fits)
        return [*self._progress(), StayStopped(), *callbacks, checkpoints]

    def _progress(self) -> list[StepProgress]:
        return [] if self.config.trainer.enable_progress_bar is False else [StepProgress()]


class SettingsOnly(StudyCLI):
    """Parses a command line and makes nothing."""

    def before_instantiate_classes(self) -> None:
        """Look for no checkpoint."""

    def instantiate_classes(self) -> None:
        """Make nothing."""

    def _set_seed(self) -> None:
        """Seed nothing."""


def parse_settings(arguments: list[str]) -> tuple[Path, dict[str, Any]]:
    """Return runs/<config> and all settings of a train.py command line, as config.yaml will hold them.

    Raises:
        UserError: if train.py would refuse the command line.
    """
    cli = SettingsOnly(arguments)
    return cli.runs_folder, cli.settings


def has_split(data: LightningDataModule, split: str) -> bool:
    """Tell whether a data module has a "val" or "test" split."""
    return is_overridden(f"{split}_dataloader", data, LightningDataModule)


def quiet() -> None:
    """Keep Lightning's tips and the warnings that do not apply here off the terminal."""
    for name in ("pytorch_lightning", "lightning_fabric", "lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    os.environ.setdefault("JSONARGPARSE_DEPRECATION_WARNINGS", "off")  # they are about Lightning's calls, not ours
    for beginning in IRRELEVANT_WARNINGS:
        warnings.filterwarnings("ignore", message=re.escape(beginning))
    threading.excepthook = _report_thread


def _report_thread(failure: threading.ExceptHookArgs) -> None:
    """Leave a full disk to the main thread: TensorBoard's writer meets it first and hands it on."""
    if not isinstance(failure.exc_value, OSError):
        threading.__excepthook__(failure)


def main(arguments: list[str]) -> int:
    """Carry out a command line; return the exit status. A user's mistake is one line on stderr."""
    with signals.handled():
        try:
            StudyCLI(arguments).run()
        except UserError as error:
            print(f"train.py: error: {error}", file=sys.stderr)
            return error.status
        except Stopped as stopped:
            if _rank() == 0:
                print(stopped.line or "stopped", file=sys.stdout if stopped.line else sys.stderr, flush=True)
            return 128 + stopped.signum
        except OSError as error:
            if error.errno is None or (error.filename is None and error.strerror is None):
                raise
            # Readers of files name what they cannot read. What is left is a run's own file, or read by a user's class.
            own = error.filename is None or "runs" in Path(str(error.filename)).parts
            does = "write" if own or error.errno in WRITING else "read or write"
            print(f"train.py: error: cannot {does} {error.filename or 'the logs'}: {error.strerror}", file=sys.stderr)
            return 1
    return 0


def _rank() -> int:
    """Return this process's number, known from its environment before there is a trainer."""
    return getattr(rank_zero_only, "rank", 0)


def _as_list(value: Any) -> list[Any]:
    if value is None:
        return []
    return list(value) if isinstance(value, list | tuple) else [value]
