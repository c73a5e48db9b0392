"""Errors that torch, numpy and Lightning raise for a setting of the user's, told from bugs by their own words."""

import contextlib
import traceback
from collections.abc import Iterator
from typing import Any

from lightning_modules.dotted_keys import flat
from lightning_modules.errors import UserError

# Of a tensor or array that no memory holds, or whose size no 64-bit number does.
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
def as_mistakes(settings: dict[str, Any]) -> Iterator[None]:
    """Turn what a setting has caused inside torch, numpy or Lightning into one line; leave every other error alone.

    Args:
        settings: all settings, of which the largest are named where memory ran out.

    Raises:
        UserError: in their place.
    """
    try:
        yield
    except MemoryError as error:
        raise UserError(_too_large(settings)) from error
    except (RuntimeError, ValueError) as error:
        message = str(error)
        if type(error).__name__ == "OutOfMemoryError" or any(words in message for words in TOO_LARGE):
            raise UserError(_too_large(settings)) from error
        if message.startswith("Early stopping conditioned on metric"):
            raise UserError(" ".join(message.replace("`", "").split()), status=1) from error
        raise


def from_restoring(error: Exception) -> bool:
    """Tell whether an error arose where Lightning puts back the states of a checkpoint, which may hold anything."""
    frames = (frame for frame, _ in traceback.walk_tb(error.__traceback__))
    return not isinstance(error, UserError) and any(
        frame.f_globals.get("__name__", "").endswith(".checkpoint_connector")
        and frame.f_code.co_name.lstrip("_").startswith("re")  # restore…, resume…
        for frame in frames
    )


def _too_large(settings: dict[str, Any]) -> str:
    sizes = {key: value for key, value in flat(settings).items() if key.startswith(("model.", "data."))}
    numbers = {key: value for key, value in sizes.items() if type(value) is int and "seed" not in key}
    largest = sorted(numbers, key=numbers.__getitem__, reverse=True)[:2]
    named = " or ".join(f"{key.replace('init_args.', '')} ({numbers[key]})" for key in largest)
    return f"there is not enough memory; make {named} smaller"
