"""Checks of parsed settings for values that their types allow but no run can use."""

import inspect
import os
import warnings
from collections.abc import Iterator
from pydoc import locate
from typing import Any, cast, get_args, get_type_hints

import torch
from jsonargparse import Namespace
from pytorch_lightning import Trainer
from pytorch_lightning.accelerators import CPUAccelerator
from pytorch_lightning.callbacks import Callback, Timer
from pytorch_lightning.utilities.exceptions import MisconfigurationException

from lightning_modules.callbacks.checkpoints import Checkpoints
from lightning_modules.callbacks.solved import Solved
from lightning_modules.cli.constructors import parameters
from lightning_modules.errors import UserError

# Upper bounds of numbers, by the end of their names. Larger ones would take all memory or hours before they fail.
MOST = {"layers": 1000, "batch_size": 10_000_000, "devices": 1024, "num_nodes": 100_000}

# Lower bounds of the Trainer's numbers that Lightning does not check.
LEAST = {
    "accumulate_grad_batches": 1, "num_nodes": 1, "check_val_every_n_epoch": 1, "max_steps": 1, "max_epochs": 1,
    "min_steps": 0, "min_epochs": 0, "limit_train_batches": 0, "limit_val_batches": 0, "limit_test_batches": 0,
    "limit_predict_batches": 0, "overfit_batches": 0, "val_check_interval": 0, "num_sanity_val_steps": 0,
    "log_every_n_steps": 0, "gradient_clip_val": 0, "reload_dataloaders_every_n_epochs": 0, "fast_dev_run": 0,
}  # fmt: skip
ALSO_MINUS_ONE = ("max_steps", "max_epochs", "num_sanity_val_steps")  # -1 means all
NOT_ZERO = ("limit_train_batches", "val_check_interval")  # as a fraction of the batches any number above 0
GROUPS = {"trainer": Trainer, "checkpoints": Checkpoints, "solved": Solved}  # keys that hold the settings of one class

FLOAT32_MAX = torch.finfo(torch.float32).max


def check_groups(config: Namespace) -> None:
    """Check that each group of settings is present and complete; a config may have overwritten it by another value.

    Raises:
        UserError: if one is not; the line names it.
    """
    for group, owner in GROUPS.items():
        wanted = inspect.signature(owner).parameters.keys()
        if not isinstance(config.get(group), Namespace) or wanted - vars(config[group]).keys():
            raise UserError(f"{group} must hold settings, `key: value` lines; without any leave it out")


def check_pair(config: Namespace) -> None:
    """Check that the data module makes batches of the type with which the `step` of the training system is annotated.

    A class that names no type, such as another LightningModule of the user's, is not checked.

    Raises:
        UserError: if the types differ; the line names both.
    """
    system, data = (cast(type, locate(config[key].class_path)) for key in ("model", "data"))
    takes = get_type_hints(getattr(system, "step", object)).get("batch")
    makes = getattr(data, "batch_type", None)
    if isinstance(takes, type) and isinstance(makes, type) and not issubclass(makes, takes):
        mismatch = f"{system.__name__} takes a {takes.__name__}, and {data.__name__} makes a {makes.__name__}"
        raise UserError(f"{mismatch}; name another with --model or --data")


def check_settings(config: Namespace, from_data: tuple[str, ...]) -> None:
    """Check every setting: numbers are finite and within their bounds, and Lightning accepts those of the trainer.

    Args:
        config: the settings, with defaults.
        from_data: names of arguments whose values come from the data module later.

    Raises:
        UserError: if one is wrong; the line names the setting, its value and what is allowed.
    """
    for key, value, parameter in _settings(config):
        name = key.rpartition(".")[2]
        later = key.startswith("model.") and name in from_data
        if value is None and not later and parameter is not None and not _may_be_null(parameter):
            default = "" if parameter.default is parameter.empty else f" ({parameter.default})"
            raise UserError(f"{key} cannot be null; leave it out for its default{default}")
        if isinstance(value, float) and not abs(value) <= FLOAT32_MAX:
            raise UserError(f"{key} must be a finite number, got {value}")
        if abs(_whole(value)) >= 2**63:
            raise UserError(f"{key} is too large: {value}; whole numbers are below 2⁶³")
        for ending, most in MOST.items():
            if name.endswith(ending) and _whole(value) > most:
                raise UserError(f"{key} must be at most {most}, got {value}")
        if isinstance(value, str) and "\0" in value:
            raise UserError(f"{key} has a zero character: {value!r}")
    for name, least in LEAST.items():
        _check_least(name, config.trainer[name], least)
    _try_trainer(config.trainer)


def _check_least(name: str, value: Any, least: int) -> None:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or value > least or (value == -1 and name in ALSO_MINUS_ONE):
        return
    if value < least or name in NOT_ZERO:
        wanted = "above 0" if name in NOT_ZERO else f"{least} or more"
        raise UserError(
            f"trainer.{name} must be {wanted}{', or -1 for no limit' if name in ALSO_MINUS_ONE else ''}, got {value}"
        )


def _try_trainer(settings: Namespace) -> None:
    """Construct a trainer from the settings that are plain values, so that Lightning refuses them before any work."""
    objects = ("callbacks", "logger", "plugins")
    plain = {name: value for name, value in vars(settings).items()
             if name not in objects and not isinstance(value, Namespace)}  # fmt: skip
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the run's own trainer repeats them
            trainer = Trainer(**plain, logger=False)
    except (TypeError, ValueError, ImportError, MisconfigurationException) as error:  # only Lightning's code ran
        message = " ".join(str(error).split())
        given = f" It is {settings.devices!r}." if "`devices`" in message else ""  # Lightning's line lacks the value
        raise UserError(f"trainer: {message}{given}") from error
    processors = max(2, os.cpu_count() or 1)  # two processes may share one, to try out several
    if isinstance(trainer.accelerator, CPUAccelerator) and trainer.num_devices > processors:
        raise UserError(
            f"trainer.devices must be at most {processors}, the number of processors, got {settings.devices}"
        )
    callbacks: list[Callback] = trainer.callbacks  # type: ignore[attr-defined]
    timers = (callback for callback in callbacks if isinstance(callback, Timer))
    if any((timer.time_remaining() or 0) <= 0 for timer in timers):
        raise UserError(f"trainer.max_time must be more than no time, got {settings.max_time}")


def _settings(config: Namespace) -> Iterator[tuple[str, Any, inspect.Parameter | None]]:
    """Yield the dotted key and the value of every setting, and its parameter in the signature of a constructor."""
    for name, value in vars(config).items():
        if name != "config":
            yield name, value, None
            yield from _below(name, value, GROUPS.get(name))


def _below(key: str, value: Any, owner: Any) -> Iterator[tuple[str, Any, inspect.Parameter | None]]:
    if isinstance(value, list | tuple):
        for item in value:
            yield key, item, None
            yield from _below(key, item, None)
        return
    items = vars(value) if isinstance(value, Namespace) else value
    if not isinstance(items, dict):
        return
    if isinstance(items.get("class_path"), str):
        owner = locate(items["class_path"])
        items = {**vars(items.get("init_args") or Namespace()), **(items.get("dict_kwargs") or {})}
    for name, item in items.items():
        yield f"{key}.{name}", item, parameters(owner).get(str(name))
        yield from _below(f"{key}.{name}", item, None)


def _may_be_null(parameter: inspect.Parameter) -> bool:
    kind = parameter.annotation
    return parameter.default is None or kind in (Any, parameter.empty) or type(None) in get_args(kind)


def _whole(value: Any) -> int:
    """Return a whole number, also one in a string, as `devices` may be; 0 for anything else."""
    return int(value) if isinstance(value, int) or (isinstance(value, str) and value.isdecimal()) else 0
