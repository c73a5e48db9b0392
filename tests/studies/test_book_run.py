"""What the analyses of the book read of a run."""

from pathlib import Path

import pytest
import torch

from lightning_modules.errors import UserError
from studies.book_run import read_book_run
from tests.studies.book_folder import book_folder


def test_a_run_has_its_book_and_its_networks_by_step(own_folder: Path) -> None:
    run = read_book_run([book_folder({10: 0, 9: 1})])
    assert list(run.checkpoints) == [9, 10]
    assert run.book.part("train") + run.book.part("val") + run.book.part("test") == Path("text.txt").read_text()
    network = run.network(10)
    assert network.vocabulary == run.book.vocabulary
    assert not network.training
    assert not torch.equal(network.head.weight, run.network(9).head.weight)


def test_what_is_no_run_on_a_book_is_refused_in_one_line(own_folder: Path) -> None:
    with pytest.raises(UserError, match="--runs takes the folder of one run, not of 2"):
        read_book_run([Path("a"), Path("b")])
    folder = book_folder({})
    with pytest.raises(UserError, match=r"has no step_<n>\.ckpt, which a run leaves at thirds"):
        read_book_run([folder])
    folder = book_folder({3: 0})
    Path("text.txt").unlink()
    with pytest.raises(UserError, match=r"there is no file text\.txt"):
        read_book_run([folder])
    (folder / "config.yaml").write_text("data: {class_path: datamodules.toy_tasks.BinaryPalindromes}")
    with pytest.raises(UserError, match=r"is not a run on a book: its data are datamodules\.toy_tasks"):
        read_book_run([folder])


def test_weights_of_a_diverged_training_are_refused(own_folder: Path) -> None:
    run = read_book_run([book_folder({3: 0}, spoilt=True)])
    with pytest.raises(UserError, match="are not finite; the training has diverged"):
        run.network(3)
