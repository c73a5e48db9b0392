"""Reading checkpoints without a trainer, and without running any code in them."""

import io
import os
import pickle
import zipfile
from pathlib import Path
from typing import Any

import torch

from lightning_modules.errors import UserError


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Return the content of a checkpoint file, with its tensors on the CPU. A file that contains code is refused.

    Raises:
        UserError: if the file is missing, unreadable, truncated, damaged (even in one bit) or no checkpoint.
    """
    if not os.path.isfile(path):  # also False for a name that no file can have
        raise UserError(f"there is no checkpoint {path}")
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from error
    try:
        if not is_intact(content):
            raise UserError(f"{path} is damaged: its content has changed; use another checkpoint")
        checkpoint = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise UserError(
            f"{path} is not a checkpoint of this project: it holds more than tensors and settings"
        ) from error
    except UserError:
        raise
    except Exception as error:  # zipfile and torch.load may raise anything for the bytes of another file
        raise UserError(f"{path} is not a checkpoint, or is damaged") from error
    if not isinstance(checkpoint, dict) or not isinstance(checkpoint.get("state_dict"), dict):
        raise UserError(f"{path} is not a checkpoint of this project: it has no weights of a model")
    return checkpoint


def is_intact(content: bytes) -> bool:
    """Return whether every member of a file of torch.save is as it was written.

    The file is a zip archive with a CRC-32 of each member, which torch.load does not check.
    """
    directory = 0x10  # attribute of a folder: torch.load reads no bytes of such a member, and its tensor is undefined
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        marked = any(member.external_attr & directory for member in archive.infolist())
        return not marked and archive.testzip() is None
