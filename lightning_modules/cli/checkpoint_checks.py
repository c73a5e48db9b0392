"""Whether a run can start from a checkpoint: same network, same data, and all states of a training."""

from pathlib import Path
from typing import Any

import torch

from lightning_modules.callbacks.checkpoints import rng_states
from lightning_modules.errors import UserError

TRAINING_KEYS = {"state_dict", "loops", "optimizer_states", "lr_schedulers", "callbacks", "rng_states", "global_step"}

# What optimizers know of a weight: tensors of its shape.
STATES = {
    torch.optim.Adam: ("exp_avg", "exp_avg_sq"),  # and AdamW
    torch.optim.Adagrad: ("sum",),
    torch.optim.RMSprop: ("square_avg",),
}


def check_split(checkpoint: dict[str, Any], data: object, path: Path) -> None:
    """See that a checkpoint was trained on the split that it is to be tested on, wherever its files lie.

    Raises:
        UserError: if it was another one.
    """
    state, ours = checkpoint.get(type(data).__qualname__), getattr(data, "split", {})
    if not ours:
        return
    theirs = state.get("split") if isinstance(state, dict) else None
    if not isinstance(theirs, dict):
        raise UserError(f"{path} was not trained on a {type(data).__qualname__}: it does not say on which split")
    settings = sorted((ours.keys() | theirs.keys()) - {"name", "content"}, key=str)
    differing = [f"{key} is {theirs.get(key)} there and {ours.get(key)} here" for key in settings
                 if theirs.get(key) != ours.get(key)]  # fmt: skip
    if not differing and theirs.get("content") != ours["content"]:
        differing = [f"the content of {theirs.get('name')} there is not that of {ours['name']} here"]
    if differing:
        raise UserError(
            f"{path} was trained on other examples: {', '.join(differing)}; some that it was trained on may be tested; "
            "give its own --seed_everything and --data settings"
        )


def check_carried(checkpoint: dict[str, Any], data: object, processes: int, path: Path) -> None:
    """See that states which a checkpoint carries on belong to the batches that come.

    Args:
        checkpoint: its content.
        data: the data module.
        processes: number of processes that will train together.
        path: of the checkpoint.

    Raises:
        UserError: if they belong to other ones.
    """
    state = checkpoint.get(type(data).__qualname__)
    theirs = state.get("carried") if isinstance(state, dict) else None
    ours = data.carried(processes) if hasattr(data, "carried") else {}
    if not isinstance(theirs, dict) or not theirs or not ours:
        return
    for name, value in ours.items():
        if theirs.get(name) != value:
            raise UserError(
                f"{path} carries on the states of its streams and was trained with {name} {theirs.get(name)}, here "
                f"{value}; keep that number, or begin a new run"
            )


def check_fits(checkpoint: dict[str, Any], model: torch.nn.Module, path: Path, training: bool) -> None:
    """See that a checkpoint belongs to this model, and can continue its training.

    Raises:
        UserError: if weights are missing, unknown or of another shape, characters are others, or the state of the
            training is missing.
    """
    described, vocabulary = (
        checkpoint.get("language_model"),
        getattr(getattr(model, "network", None), "vocabulary", None),
    )
    if vocabulary is not None and isinstance(described, dict) and described.get("vocabulary") != vocabulary:
        raise UserError(f"{path} belongs to another text: its characters are not those of this one")
    theirs, ours = checkpoint["state_dict"], model.state_dict()
    for name in sorted(ours.keys() | theirs.keys(), key=str):
        if name not in theirs or name not in ours:
            raise UserError(f"{path} belongs to another model: {name} is in only one of the two")
        shape = getattr(theirs[name], "shape", None)
        if shape != ours[name].shape:
            has = list(shape) if shape is not None else "no tensor"
            raise UserError(f"{path} belongs to another model: {name} is {has} there and {list(ours[name].shape)} here")
    states = checkpoint.get("rng_states")
    if training and not (isinstance(states, dict) and {"torch", "numpy", "python"} <= states.keys()):
        raise UserError(f"{path} cannot be continued: it lacks the states of the random number generators")
    for name, state in rng_states().items() if training else ():
        if name in states and getattr(states[name], "shape", ())[1:] != state.shape:  # type: ignore[operator,index]
            raise UserError(f"{path} cannot be continued: its state of {name}'s random number generator is damaged")
    missing = TRAINING_KEYS - checkpoint.keys()
    if training and missing:
        raise UserError(f"{path} cannot be continued: it lacks {', '.join(sorted(missing))}")
    step = checkpoint.get("global_step")
    if training and (type(step) is not int or step < 0 or not checkpoint["optimizer_states"]):
        raise UserError(f"{path} cannot be continued: it lacks the state of its optimizer")


def check_optimizers(optimizers: list[torch.optim.Optimizer], path: Path) -> None:
    """See that the states which optimizers got from a checkpoint are theirs; torch counts the weights and no more.

    Raises:
        UserError: if they are another optimizer's, of another shape, or missing.
    """
    for optimizer in optimizers:
        kind = type(optimizer).__name__
        foreign = UserError(f"{path} cannot be continued: its optimizer is not {kind}")
        if any(optimizer.defaults.keys() - group.keys() for group in optimizer.param_groups):
            raise foreign
        names = next((names for known, names in STATES.items() if isinstance(optimizer, known)), ())
        if names and not any(optimizer.state.values()):
            raise UserError(f"{path} cannot be continued: it lacks the state of its optimizer")
        for weight, state in optimizer.state.items():
            for name in names if state else ():
                if name not in state:
                    raise foreign
                shape = getattr(state[name], "shape", None)
                if shape != weight.shape:
                    has = list(shape) if shape is not None else "no tensor"
                    expected = f"and a weight of this model {list(weight.shape)}"
                    raise UserError(f"{path} cannot be continued: {name} of its optimizer is {has}, {expected}")
