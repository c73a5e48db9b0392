"""Load a character language model from its checkpoint, without the config of its run and without a trainer."""

import importlib
from functools import partial
from pathlib import Path
from typing import Any

import kernels
from kernels.layer import RecurrentLayer
from lightning_modules.checkpoint_file import read_checkpoint
from lightning_modules.errors import UserError
from lightning_modules.networks.language_model import CharacterModel, own_options

CELLS: dict[str, type[RecurrentLayer]] = {
    name: value
    for name, value in vars(kernels).items()
    if isinstance(value, type) and issubclass(value, RecurrentLayer) and value is not RecurrentLayer
}
LARGEST = {"embedding_size": 1 << 16, "hidden_size": 1 << 16, "num_layers": 1 << 8}  # a larger size is damage


def load_language_model(path: Path, layer: str | None = None) -> CharacterModel:
    """Return the language model of a checkpoint.

    No class that the file names is imported: its cell must be one of `kernels`, or the class given as `layer`.

    Args:
        path: the checkpoint.
        layer: import path of the class of its recurrent layer, if that is not one of `kernels`.

    Raises:
        UserError: if the file is not the checkpoint of a language model, is damaged, or has another cell.
    """
    checkpoint = read_checkpoint(path)
    description = checkpoint.get("language_model")
    if not isinstance(description, dict) or not isinstance(description.get("vocabulary"), str):
        raise UserError(f"{path} is not a checkpoint of a language model: it has no vocabulary")
    layer_class = _layer_class(path, description.get("cell"), layer)
    if problem := _problem(description):
        raise UserError(f"{path} is damaged: {problem}")
    options = {name: value for name, value in description["cell_options"].items() if name in own_options(layer_class)}
    weights = {str(name).removeprefix("network."): value for name, value in checkpoint["state_dict"].items()}
    try:
        sizes = {name: description[name] for name in LARGEST}
        model = CharacterModel(description["vocabulary"], partial(layer_class, **options), **sizes)
        model.load_state_dict(weights)
    except (TypeError, ValueError, RuntimeError, MemoryError) as error:  # values or shapes that contradict each other
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"{path} is damaged: its model cannot be made ({reason})") from error
    return model


def _layer_class(path: Path, cell: Any, layer: str | None) -> type[RecurrentLayer]:
    """Return the class of the recurrent layer whose name a checkpoint gives."""
    if layer is None:
        if cell not in CELLS:
            raise UserError(
                f"{path} has the cell {cell!r}, which is not one of {', '.join(CELLS)}; "
                "if the cell is your own, name its class: --layer my_cells.MyCell"
            )
        return CELLS[cell]
    module, _, name = layer.rpartition(".")
    if not module:
        raise UserError(f"--layer: cannot import {layer}: its module is missing, as in my_cells.MyCell")
    try:
        found = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise UserError(f"--layer: cannot import {layer}: {error}") from error
    if not isinstance(found, type) or not issubclass(found, RecurrentLayer):
        raise UserError(f"--layer: {layer} is not a subclass of kernels.RecurrentLayer")
    if found.__name__ != cell:
        raise UserError(f"--layer: {path} has the cell {cell!r}, not {found.__name__}")
    return found


def _problem(description: dict[str, Any]) -> str:
    """Return what is wrong with the description of a network, or ""."""
    for name, largest in LARGEST.items():
        size = description.get(name)
        if not isinstance(size, int) or not 0 < size <= largest:
            return f"its {name} is {size!r}"
    vocabulary = description["vocabulary"]
    if len(set(vocabulary)) < len(vocabulary):
        return "its vocabulary has a character twice"
    if not vocabulary or any("\ud800" <= character <= "\udfff" for character in vocabulary):
        return "its vocabulary is empty or has half a character"
    if not isinstance(description.get("cell_options"), dict):
        return f"its cell_options are {description.get('cell_options')!r}"
    return ""
