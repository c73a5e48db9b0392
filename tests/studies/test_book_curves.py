"""Figure 3: means over 100 iterations, and held-out text."""

import csv
import json
import math
from pathlib import Path

import pytest
import torch

from studies.book_curves import main, on_windows, read_curves, summary
from studies.book_run import read_book_run
from tests.studies.book_folder import book_folder

HEAD = "step,train/loss,train/accuracy,val/loss,val/accuracy\n"
TRAINED = [f"{step},{300 - step},{step / 1000},,\n" for step in range(250)]
VALIDATED = {49: "49,,,3.0,0.1\n", 99: "99,,,1.5,0.4\n", 249: "249,,,2.0,0.5\n"}
ROWS = HEAD + "".join(row + VALIDATED.get(step, "") for step, row in enumerate(TRAINED))


def test_a_point_is_the_mean_of_the_100_iterations_up_to_it(own_folder: Path) -> None:
    curves = read_curves(read_book_run([book_folder({250: 0}, rows=ROWS)]))
    assert curves["train_loss"] == pytest.approx({100: 300 - 49.5, 200: 300 - 149.5})
    assert curves["train_accuracy"] == pytest.approx({100: 0.0495, 200: 0.1495})
    assert curves["val_loss"] == {50: 3.0, 100: 1.5, 250: 2.0}, "counted from 1"
    assert list(curves["windows_loss"]) == [250]


def test_held_out_windows_start_from_a_zero_state(own_folder: Path) -> None:
    run = read_book_run([book_folder({1: 0})])
    network, text, T = run.network(1), run.book.part("val")[:100], 30
    losses, right = [], []
    for start in (0, 30, 60):
        window = text[start : start + T + 1]
        log_probs = torch.log_softmax(network(network.encode(window[:-1])[None])[0][0], 1)
        for row, target in zip(log_probs, network.encode(window[1:]), strict=True):
            losses.append(-float(row[target]))
            right.append(int(row.argmax()) == int(target))
    loss, accuracy = on_windows(network, text, T)
    assert loss == pytest.approx(sum(losses) / 90, rel=1e-5)
    assert accuracy == pytest.approx(sum(right) / 90)


def test_the_numbers_of_the_claims(own_folder: Path) -> None:
    numbers = summary(read_curves(read_book_run([book_folder({250: 0}, rows=ROWS)])), [100, 77])
    assert numbers["train_loss"] == pytest.approx(150.5)
    assert (numbers["lowest_val_loss_at"], numbers["lowest_val_loss"], numbers["overfitting"]) == (100, 1.5, 0.5)
    assert numbers["share_at_100"] == pytest.approx(0.0495 / 0.1495)
    assert numbers["val_accuracy_at_100"] == 0.4
    assert numbers["val_loss_at_77"] is None
    assert numbers["share_at_77"] is None


def test_the_files(own_folder: Path) -> None:
    folder = book_folder({250: 0}, rows=ROWS)
    assert main(["--out", "out", "--runs", str(folder), "--at", "100"]) == 0
    assert Path("out/book_curves.png").read_bytes().startswith(b"\x89PNG")
    assert Path("out/book_curves.md").read_text().startswith("**Figure 3.** ")
    rows = list(csv.DictReader(Path("out/book_curves.csv").read_text().splitlines()))
    assert [row["iteration"] for row in rows] == ["50", "100", "200", "250"]
    assert (rows[0]["train_loss"], rows[1]["train_loss"], rows[1]["val_loss"]) == ("", "250.5", "1.5")
    assert math.isfinite(json.loads(Path("out/summary.json").read_text())["windows_accuracy"])


def test_a_short_run_without_validation_has_one_point(own_folder: Path) -> None:
    folder = book_folder({2: 0}, rows="step,train/loss,train/accuracy\n0,2.0,0.25\n1,1.0,0.75\n")
    curves = read_curves(read_book_run([folder]))
    assert curves["train_loss"] == {2: 1.5}
    assert summary(curves, [])["val_loss"] is None
    assert main(["--out", "out", "--runs", str(folder)]) == 0


def test_a_run_without_training_is_one_line(own_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--out", "out", "--runs", str(book_folder({2: 0}))]) == 2
    assert capsys.readouterr().err == "studies.book_curves: error: version_0/metrics.csv has no train/loss\n"
    assert not Path("out").exists()
