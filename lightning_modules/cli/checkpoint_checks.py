"""Check whether a run can start from a checkpoint: same network, same data, all states of the training."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from lightning_modules.callbacks.checkpoints import rng_states
from lightning_modules.errors import UserError

TRAINING_KEYS = {"state_dict", "loops", "optimizer_states", "lr_schedulers", "callbacks", "rng_states", "global_step"}

# The states that an optimizer keeps for a weight, with the shape of the weight.
STATES = {
    torch.optim.Adam: ("exp_avg", "exp_avg_sq"),  # and AdamW
    torch.optim.Adagrad: ("sum",),
    torch.optim.RMSprop: ("square_avg",),
}


def check_model(checkpoint: dict[str, Any], model: nn.Module, path: Path) -> None:
    """Check that the weights of a checkpoint are those of this model.

    Raises:
        UserError: if weights are missing, unknown or of another shape, or a language model has another alphabet.
    """
    described, network = checkpoint.get("language_model"), getattr(model, "network", None)
    vocabulary = getattr(network, "vocabulary", None)
    if vocabulary is not None and isinstance(described, dict) and described.get("vocabulary") != vocabulary:
        raise UserError(f"{path} belongs to another text: its characters are not those of this one")
    theirs, ours = checkpoint["state_dict"], model.state_dict()
    for name in sorted(ours.keys() | theirs.keys(), key=str):
        if name not in theirs or name not in ours:
            raise UserError(f"{path} belongs to another model: {name} is in only one of the two")
        if _shape(theirs[name]) != list(ours[name].shape):
            shapes = f"{_shape(theirs[name])} there and {list(ours[name].shape)} here"
            raise UserError(f"{path} belongs to another model: {name} is {shapes}")


def check_training(checkpoint: dict[str, Any], path: Path) -> None:
    """Check that a checkpoint has every state that continuing a training needs.

    Raises:
        UserError: if one is missing or damaged.
    """
    states = checkpoint.get("rng_states")
    if not isinstance(states, dict) or not {"torch", "numpy", "python"} <= states.keys():
        raise UserError(f"{path} cannot be continued: it lacks the states of the random number generators")
    for name, state in rng_states().items():
        if name in states and _shape(states[name])[1:] != list(state.shape):
            raise UserError(f"{path} cannot be continued: its state of {name}'s random number generator is damaged")
    if missing := TRAINING_KEYS - checkpoint.keys():
        raise UserError(f"{path} cannot be continued: it lacks {', '.join(sorted(missing))}")
    step = checkpoint["global_step"]
    if type(step) is not int or step < 0 or not checkpoint["optimizer_states"]:
        raise UserError(f"{path} cannot be continued: it lacks the state of its optimizer")


def check_optimizers(optimizers: list[torch.optim.Optimizer], path: Path) -> None:
    """Check the states that optimizers have loaded from a checkpoint; torch compares only the number of weights.

    Raises:
        UserError: if they are another optimizer's, of another shape or type, or missing.
    """
    for optimizer in optimizers:
        refused = f"{path} cannot be continued: "
        foreign = UserError(f"{refused}its optimizer is not {type(optimizer).__name__}")
        for group in optimizer.param_groups:
            if optimizer.defaults.keys() - group.keys():
                raise foreign
            if not isinstance(group["lr"], float | int | Tensor):
                raise UserError(f"{refused}the learning rate of its optimizer is no number: {group['lr']!r}")
        names = next((names for known, names in STATES.items() if isinstance(optimizer, known)), ())
        if names and not any(optimizer.state.values()):
            raise UserError(f"{refused}it lacks the state of its optimizer")
        for weight, state in optimizer.state.items():
            for name in names if state else ():
                if name not in state:
                    raise foreign
                if _shape(state[name]) != list(weight.shape):
                    shapes = f"{_shape(state[name])}, and a weight of this model {list(weight.shape)}"
                    raise UserError(f"{refused}{name} of its optimizer is {shapes}")


def check_split(checkpoint: dict[str, Any], data: object, path: Path) -> None:
    """Check that a checkpoint was trained on the split of this data module, wherever the files are.

    Raises:
        UserError: if the settings of the split or the content of the data differ.
    """
    ours, theirs = getattr(data, "split", {}), _data_state(checkpoint, data).get("split")
    if not ours:
        return
    if not isinstance(theirs, dict):
        raise UserError(f"{path} was not trained on a {type(data).__qualname__}: it has no record of its split")
    settings = sorted((ours.keys() | theirs.keys()) - {"name", "content"}, key=str)
    differing = [f"{key} is {theirs.get(key)} there and {ours.get(key)} here" for key in settings
                 if theirs.get(key) != ours.get(key)]  # fmt: skip
    if not differing and theirs.get("content") != ours["content"]:
        differing = [f"the content of {theirs.get('name')} there is not that of {ours['name']} here"]
    if differing:
        raise UserError(
            f"{path} was trained on other examples: {', '.join(differing)}; it may have been trained on test examples "
            "of this split; give its own --seed_everything and --data settings"
        )


def check_carried(checkpoint: dict[str, Any], data: object, processes: int, path: Path) -> None:
    """Check that the states of text streams in a checkpoint belong to the batches that will follow.

    Args:
        checkpoint: its content.
        data: the data module.
        processes: number of processes that will train together.
        path: of the checkpoint.

    Raises:
        UserError: if the number or the step of the streams, or the number of processes, differs.
    """
    theirs = _data_state(checkpoint, data).get("carried")
    if not isinstance(theirs, dict) or not theirs or not hasattr(data, "carried"):
        return
    for name, value in data.carried(processes).items():
        if theirs.get(name) != value:
            raise UserError(
                f"{path} holds states of text streams and was trained with {name} {theirs.get(name)}, here {value}; "
                "keep that number, or begin a new run"
            )


def _data_state(checkpoint: dict[str, Any], data: object) -> dict[str, Any]:
    """Return what a data module of this class has saved in a checkpoint."""
    state = checkpoint.get(type(data).__qualname__)
    return state if isinstance(state, dict) else {}


def _shape(value: object) -> Any:
    """Return the shape of a tensor as a list, and "no tensor" for anything else."""
    return list(value.shape) if isinstance(value, Tensor) else "no tensor"
