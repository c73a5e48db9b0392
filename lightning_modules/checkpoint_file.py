"""A checkpoint's content, read without running anything in it, and without a trainer."""

import io
import os
import pickle
import zipfile
from pathlib import Path
from typing import Any

import torch

from lightning_modules.errors import UserError


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Return the content of a checkpoint file, tensors on the CPU. Code in it is refused, not run.

    Raises:
        UserError: if the file is missing, unreadable, truncated, damaged in a single bit or anything but a checkpoint.
    """
    if not os.path.isfile(path):  # False, too, for a name that no file can have
        raise UserError(f"there is no checkpoint {path}")
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from error
    try:
        if not is_intact(content):
            raise UserError(f"{path} is damaged: it is not as it was written; take another checkpoint")
        checkpoint = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise UserError(
            f"{path} is not a checkpoint of this project: it holds more than tensors and settings"
        ) from error
    except UserError:
        raise
    except Exception as error:  # zipfile and torch.load meet foreign or cut-off bytes with nearly any exception
        raise UserError(f"{path} is not a checkpoint, or is damaged") from error
    if not isinstance(checkpoint, dict) or not isinstance(checkpoint.get("state_dict"), dict):
        raise UserError(f"{path} is not a checkpoint of this project: it has no weights of a model")
    return checkpoint


def is_intact(content: bytes) -> bool:
    """Tell whether every member of a torch.save file is as it was written.

    The file is a zip with a CRC-32 for each member, which torch.load does not check.
    """
    directory = 0x10  # an attribute of a zip's member; torch reads no bytes then and leaves a tensor uninitialised
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        marked = any(member.external_attr & directory for member in archive.infolist())
        return not marked and archive.testzip() is None
