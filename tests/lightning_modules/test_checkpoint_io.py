"""Checkpoints: whole or not at all, and never run."""

import os
import pickle
from collections import OrderedDict
from pathlib import Path

import pytest
import torch
from jsonargparse.typing import PositiveFloat

from lightning_modules.checkpoint_io import AtomicCheckpointIO, check_fits, plain, read_checkpoint
from lightning_modules.errors import UserError


def test_round_trip(tmp_path: Path) -> None:
    path = tmp_path / "last.ckpt"
    checkpoint = {
        "state_dict": OrderedDict(a=torch.ones(2)),
        "rate": PositiveFloat(0.1),
        "list": [PositiveFloat(1), None],
    }
    AtomicCheckpointIO().save_checkpoint(checkpoint, path)
    read = AtomicCheckpointIO().load_checkpoint(path)
    assert read["rate"] == 0.1
    assert type(read["rate"]) is float
    assert torch.equal(read["state_dict"]["a"], torch.ones(2))
    assert [entry.name for entry in tmp_path.iterdir()] == ["last.ckpt"]


def test_plain_keeps_what_is_plain() -> None:
    tree = {"a": [1, True, None, ("x", 2.5)], "b": torch.ones(1)}
    assert plain(tree)["a"] == tree["a"]
    assert plain(tree)["a"][1] is True
    assert plain(tree)["b"] is tree["b"]


def test_a_failed_write_keeps_the_previous_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "last.ckpt"
    AtomicCheckpointIO().save_checkpoint({"state_dict": {"a": torch.zeros(1)}}, path)
    before = path.read_bytes()

    def full(_: int) -> None:
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(
        UserError, match=r"cannot save .*last\.ckpt: No space left on device; the previous one is whole"
    ):
        AtomicCheckpointIO().save_checkpoint({"state_dict": {"a": torch.ones(1)}}, path)
    assert path.read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["last.ckpt"]


class Hostile:
    """Would make a file when unpickled."""

    def __reduce__(self) -> tuple:
        return (Path.touch, (Path("pwned"),))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is not a checkpoint, or is damaged"),
        (b"not a checkpoint at all", "is not a checkpoint"),
        (pickle.dumps(Hostile()), "is not a checkpoint"),
        (pickle.dumps({"state_dict": Hostile()}), "is not a checkpoint"),
    ],
)
def test_foreign_files(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "x.ckpt"
    path.write_bytes(content)
    with pytest.raises(UserError, match=message):
        read_checkpoint(path)
    assert not Path("pwned").exists()


def test_code_inside_a_checkpoint_is_not_run(tmp_path: Path) -> None:
    torch.save({"state_dict": {"a": Hostile()}}, tmp_path / "x.ckpt")
    with pytest.raises(UserError, match="holds more than tensors and settings"):
        read_checkpoint(tmp_path / "x.ckpt")
    assert not Path("pwned").exists()


@pytest.mark.parametrize("content", [torch.ones(3), {"model": {}}, {"state_dict": 3}])
def test_other_contents(tmp_path: Path, content: object) -> None:
    torch.save(content, tmp_path / "x.ckpt")
    with pytest.raises(UserError, match="has no weights of a model"):
        read_checkpoint(tmp_path / "x.ckpt")


def test_missing_truncated_and_unreadable(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="there is no checkpoint"):
        read_checkpoint(tmp_path / "x.ckpt")
    torch.save({"state_dict": {"a": torch.ones(1000)}}, tmp_path / "x.ckpt")
    whole = (tmp_path / "x.ckpt").read_bytes()
    for length in (10, len(whole) // 2, len(whole) - 1):
        (tmp_path / "x.ckpt").write_bytes(whole[:length])
        with pytest.raises(UserError, match="is not a checkpoint"):
            read_checkpoint(tmp_path / "x.ckpt")


@pytest.mark.parametrize(
    ("state_dict", "message"),
    [
        ({"weight": torch.zeros(3, 2)}, "bias is in only one of the two"),
        ({"weight": torch.zeros(3, 2), "bias": torch.zeros(3), "more": torch.zeros(1)}, "more is in only one"),
        ({"weight": torch.zeros(2, 3), "bias": torch.zeros(3)}, r"weight is \[2, 3\] there and \[3, 2\] here"),
        ({"weight": "zeros", "bias": torch.zeros(3)}, "weight is no tensor there"),
        (
            {"weight": torch.zeros(3, 2), "bias": torch.zeros(3)},
            "cannot be continued: it lacks the states of the random",
        ),
    ],
)
def test_checkpoints_of_another_model(state_dict: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        check_fits({"state_dict": state_dict}, torch.nn.Linear(2, 3), Path("x.ckpt"), training=True)
