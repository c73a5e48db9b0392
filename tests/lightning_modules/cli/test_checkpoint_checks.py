"""Which checkpoints a run can start from."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from datamodules.node_graphs import Karate
from datamodules.social_graphs import SocialGraph
from datamodules.toy_tasks import BinaryPalindrome
from lightning_modules.callbacks.checkpoints import rng_states
from lightning_modules.cli.checkpoint_checks import check_model, check_split, check_training
from lightning_modules.errors import UserError

Train = Callable[..., tuple[int, str, str]]
LAST = Path("runs/palindrome_lstm/version_0/last.ckpt")


@pytest.mark.parametrize(
    ("state_dict", "message"),
    [
        ({"weight": torch.zeros(3, 2)}, "bias is in only one of the two"),
        ({"weight": torch.zeros(3, 2), "bias": torch.zeros(3), "more": torch.zeros(1)}, "more is in only one"),
        ({"weight": torch.zeros(2, 3), "bias": torch.zeros(3)}, r"weight is \[2, 3\] there and \[3, 2\] here"),
        ({"weight": "zeros", "bias": torch.zeros(3)}, "weight is no tensor there"),
    ],
)
def test_checkpoints_of_another_model(state_dict: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        check_model({"state_dict": state_dict}, torch.nn.Linear(2, 3), Path("x.ckpt"))


def test_a_checkpoint_without_the_states_of_a_training() -> None:
    with pytest.raises(UserError, match="cannot be continued: it lacks the states of the random"):
        check_training({"state_dict": {}}, Path("x.ckpt"))
    with pytest.raises(UserError, match="cannot be continued: it lacks callbacks, global_step, loops"):
        check_training({"state_dict": {}, "rng_states": {n: s[None] for n, s in rng_states().items()}}, Path("x.ckpt"))


def edges(path: Path, last: str) -> SocialGraph:
    path.parent.mkdir(exist_ok=True)
    path.write_text("".join(f"{n} {n + 1}\n" for n in range(40)) + f"0 {last}\n")
    return SocialGraph(str(path))


def test_the_same_split_by_another_path(own_folder: Path) -> None:
    checkpoint = {"SocialGraph": edges(own_folder / "edges.txt", "9").state_dict()}
    for data in (SocialGraph("edges.txt"), SocialGraph("./edges.txt", seed=7), edges(own_folder / "other" / "e", "9")):
        check_split(checkpoint, data, Path("last.ckpt"))
    check_split({}, BinaryPalindrome(), Path("last.ckpt"))  # drawn anew: nothing to tell


def test_another_split_is_refused_and_says_what_differs(own_folder: Path) -> None:
    checkpoint = {"SocialGraph": edges(own_folder / "edges.txt", "9").state_dict()}
    drawn_otherwise = SocialGraph("edges.txt", val_fraction=0.2, split_seed=3)
    with pytest.raises(
        UserError, match=r"examples: split_seed is 0 there and 3 here, val_fraction is 0\.05 there and 0\.2"
    ):
        check_split(checkpoint, drawn_otherwise, Path("last.ckpt"))
    other_content = edges(own_folder / "edges.txt", "11")
    with pytest.raises(UserError, match=r"the content of .*edges\.txt there is not that of .*edges\.txt here"):
        check_split(checkpoint, other_content, Path("last.ckpt"))
    with pytest.raises(UserError, match="was not trained on a Karate: it has no record of its split"):
        check_split(checkpoint, Karate(), Path("last.ckpt"))


def change(key: str) -> Callable[[dict[str, Any]], None]:
    def shape(optimizer: dict[str, Any]) -> None:
        optimizer["state"][0]["exp_avg"] = torch.zeros(2, 2)

    def text(optimizer: dict[str, Any]) -> None:
        optimizer["state"][0]["exp_avg"] = "hello"

    def another(optimizer: dict[str, Any]) -> None:
        for state in optimizer["state"].values():
            state["square_avg"] = state.pop("exp_avg")

    def none(optimizer: dict[str, Any]) -> None:
        optimizer["state"] = {}

    def settings(optimizer: dict[str, Any]) -> None:
        optimizer["param_groups"][0].pop("betas")

    def rate(optimizer: dict[str, Any]) -> None:
        optimizer["param_groups"][0]["lr"] = "fast"

    return locals()[key]


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ("shape", "exp_avg of its optimizer is [2, 2], and a weight of this model [3, 4]"),
        ("text", "exp_avg of its optimizer is no tensor"),
        ("another", "its optimizer is not Adam"),
        ("none", "it lacks the state of its optimizer"),
        ("settings", "its optimizer is not Adam"),
        ("rate", "the learning rate of its optimizer is no number: 'fast'"),
    ],
)
def test_states_of_another_optimizer(train: Train, key: str, message: str) -> None:
    assert train("--trainer.max_steps", "2")[0] == 0
    checkpoint = torch.load(LAST, weights_only=True)
    change(key)(checkpoint["optimizer_states"][0])
    torch.save(checkpoint, "changed.ckpt")
    status, _, err = train("--trainer.max_steps", "4", "--ckpt_path", "changed.ckpt")
    assert (status, err.count("\n")) == (2, 1), err
    assert f"changed.ckpt cannot be continued: {message}" in err
    assert [path.name for path in LAST.parent.parent.iterdir()] == ["version_0"]
