"""Errors that torch, numpy and Lightning raise for a setting, as one line; every other error stays as it is."""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

from pytorch_lightning.utilities.exceptions import MisconfigurationException

from lightning_modules.dotted_keys import flat
from lightning_modules.errors import UserError

# Messages about a tensor or array that is larger than the memory, or than a 64-bit number of bytes.
TOO_LARGE = (
    "can't allocate memory",
    "Storage size calculation overflowed",
    "integer multiplication overflow",
    "array is too big",
    "Maximum allowed dimension exceeded",
    "invalid dimensions",
    "Trying to create tensor with negative dimension",
)


@contextlib.contextmanager
def memory_errors(settings: dict[str, Any]) -> Iterator[None]:
    """Turn an error about memory into one line that names the largest sizes among the settings.

    Raises:
        UserError: in place of MemoryError, torch.OutOfMemoryError, and errors whose message is in `TOO_LARGE`.
    """
    try:
        yield
    except (MemoryError, RuntimeError, ValueError) as error:
        lack = isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"
        if not lack and not any(words in str(error) for words in TOO_LARGE):
            raise
        sizes = {key: value for key, value in flat(settings).items() if key.startswith(("model.", "data."))}
        numbers = {key: value for key, value in sizes.items() if type(value) is int and "seed" not in key}
        largest = sorted(numbers, key=numbers.__getitem__, reverse=True)[:2]
        named = " or ".join(f"{key.replace('init_args.', '')} ({numbers[key]})" for key in largest)
        raise UserError(f"there is not enough memory; make {named} smaller") from error


@contextlib.contextmanager
def early_stopping_errors() -> Iterator[None]:
    """Turn the error of EarlyStopping for a metric that is not logged into one line; it names the metrics that are.

    Raises:
        UserError: in its place.
    """
    try:
        yield
    except RuntimeError as error:
        if not str(error).startswith("Early stopping conditioned on metric"):
            raise
        raise UserError(" ".join(str(error).replace("`", "").split()), status=1) from error


def checked_limits(setup_data: Callable[[], None]) -> Callable[[], None]:
    """Return a loop's `setup_data`, whose errors about limits and intervals of batches are one line.

    Lightning compares these settings of the trainer with the number of batches there.
    """

    def checked() -> None:
        try:
            setup_data()
        except (MisconfigurationException, ValueError) as error:
            message = " ".join(str(error).split())
            if isinstance(error, ValueError) and not message.startswith("`val_check_interval`"):
                raise
            raise UserError(f"trainer: {message}") from error

    return checked
