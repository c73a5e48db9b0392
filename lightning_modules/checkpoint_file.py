"""A checkpoint's content, read without running anything in it, and without a trainer."""

import io
import pickle
from pathlib import Path
from typing import Any

import torch

from lightning_modules.errors import UserError


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Return the content of a checkpoint file, tensors on the CPU. Code in it is refused, not run.

    Raises:
        UserError: if the file is missing, unreadable, truncated or holds anything but a checkpoint.
    """
    if not path.is_file():
        raise UserError(f"there is no checkpoint {path}")
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from error
    try:
        checkpoint = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise UserError(
            f"{path} is not a checkpoint of this project: it holds more than tensors and settings"
        ) from error
    except Exception as error:  # torch.load meets foreign or cut-off bytes with nearly any exception
        raise UserError(f"{path} is not a checkpoint, or is damaged") from error
    if not isinstance(checkpoint, dict) or not isinstance(checkpoint.get("state_dict"), dict):
        raise UserError(f"{path} is not a checkpoint of this project: it has no weights of a model")
    return checkpoint
