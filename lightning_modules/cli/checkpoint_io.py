"""Writing checkpoints: whole or not at all."""

import io
import os
from collections import OrderedDict
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning.plugins.io import TorchCheckpointIO

from lightning_modules.checkpoint_file import read_checkpoint
from lightning_modules.errors import UserError
from lightning_modules.signals import signals


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes beside the target, syncs, then renames, so that the target is always a whole checkpoint."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | os.PathLike, storage_options: Any = None) -> None:
        """Save a checkpoint.

        Raises:
            UserError: if it cannot be written, for example because the disk is full; the previous one stays.
        """
        buffer = io.BytesIO()  # torch.save reports a full disk as an internal error, a plain write as OSError
        torch.save(plain(checkpoint), buffer)
        target = Path(path)
        beside = target.with_name(f".{target.name}.tmp")
        try:
            with signals.uninterrupted():
                target.parent.mkdir(parents=True, exist_ok=True)
                with beside.open("wb") as file:
                    file.write(buffer.getbuffer())
                    file.flush()
                    os.fsync(file.fileno())
                beside.replace(target)
        except OSError as error:
            beside.unlink(missing_ok=True)
            kept = "; the previous one is whole" if target.exists() else ""
            raise UserError(f"cannot save {target}: {error.strerror}{kept}", status=1) from error

    def load_checkpoint(
        self, path: str | os.PathLike, map_location: Any = "cpu", weights_only: bool | None = True
    ) -> Any:
        """Read a checkpoint as `read_checkpoint` does, whatever `weights_only` says."""
        return read_checkpoint(Path(path))


def plain(tree: Any) -> Any:
    """Return a tree of settings and states with numbers of Python's own types, which `weights_only=True` can load.

    Numbers parsed by jsonargparse are of subclasses, such as PositiveFloat.
    """
    if type(tree) in (dict, OrderedDict):
        return type(tree)((key, plain(value)) for key, value in tree.items())
    if type(tree) in (list, tuple):
        return type(tree)(map(plain, tree))
    for kind in (bool, int, float, str):
        if isinstance(tree, kind):
            return kind(tree)
    return tree
