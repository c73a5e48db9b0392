"""Checkpoints: whole or not at all, and never run."""

import os
import pickle
import random
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from jsonargparse.typing import PositiveFloat

from lightning_modules.checkpoint_file import read_checkpoint
from lightning_modules.cli.checkpoint_io import AtomicCheckpointIO, plain
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


def refused(path: Path, content: bytes, bit: int, original: dict) -> bool:
    """Tell whether a checkpoint with one bit flipped is refused; if not, see that this bit is never read."""
    flipped = bytearray(content)
    flipped[bit // 8] ^= 1 << bit % 8
    path.write_bytes(flipped)
    try:
        read = read_checkpoint(path)
    except UserError as error:
        return "is damaged" in str(error) or "is not a checkpoint" in str(error)
    assert read["settings"] == original["settings"]
    assert read["state_dict"].keys() == original["state_dict"].keys()
    assert all(torch.equal(read["state_dict"][name], weight) for name, weight in original["state_dict"].items())
    return False


@pytest.mark.parametrize("writer", [torch.save, AtomicCheckpointIO().save_checkpoint])
def test_a_flipped_bit_is_refused(tmp_path: Path, writer: Callable) -> None:
    path = tmp_path / "last.ckpt"
    original = {"state_dict": {"w": torch.randn(100, 100)}, "settings": {"rate": 0.5}}
    writer(original, path)
    content = path.read_bytes()
    bits = random.Random(0).choices(range(8 * len(content)), k=200)
    refusals = sum(refused(path, content, bit, original) for bit in bits)
    assert refusals >= 190, "all but those that fall into the padding between tensors"


@pytest.mark.slow
def test_every_flipped_bit_is_refused_or_never_read(tmp_path: Path) -> None:
    path = tmp_path / "last.ckpt"
    weights = {f"w{k}": torch.arange(24.0).view(8, 3) + k for k in range(3)}
    original = {"state_dict": weights, "settings": {"a": [1, 2.5, None, "text"]}}
    torch.save(original, path)
    content = path.read_bytes()
    assert sum(refused(path, content, bit, original) for bit in range(8 * len(content))) > 4 * len(content)


def test_a_damaged_checkpoint_is_one_line(train: Callable[..., tuple[int, str, str]]) -> None:
    run = Path("runs/palindrome_lstm/version_0")
    train("--trainer.max_steps", "2")
    content = bytearray((run / "last.ckpt").read_bytes())
    content[content.index(b"network.embedding.weight")] ^= 1
    (run / "last.ckpt").write_bytes(content)
    line = f"train.py: error: {run / 'last.ckpt'} is damaged: its content has changed; use another checkpoint\n"
    for words in (("--ckpt_path", "last"), ("--stage", "test", "--ckpt_path", str(run / "last.ckpt"))):
        status, _, err = train("--trainer.max_steps", "4", *words)
        assert (status, err) == (2, line)
    assert [path.name for path in run.parent.iterdir()] == ["version_0"]


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
