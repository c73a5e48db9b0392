"""What the one command for a GPU does around the measurements; nothing here needs a GPU."""

import csv
import sys
from pathlib import Path

import pytest
import torch

from benchmarks import recurrent, recurrent_check, recurrent_gpu
from kernels.triton import available

OURS = {"cell": "lstm", "shape": "book", "precision": "bf16", "implementation": "kernels, triton"}


def test_results_are_not_overwritten(own_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(available, "refusal", lambda dtype, device: None)
    (own_folder / "found").mkdir()
    (own_folder / "found" / "log.txt").write_text("dear")
    monkeypatch.setattr(sys, "argv", ["recurrent_gpu", "--out", "found"])
    assert recurrent_gpu.main() == 2
    assert (own_folder / "found" / "log.txt").read_text() == "dear"


def test_claims_are_found_or_not_or_not_measured() -> None:
    rows = [
        OURS | {"both_ms": 1.0, "both_wall_ms": 3.0, "error": 0.02},
        OURS | {"implementation": "torch.nn", "both_ms": 2.0, "both_wall_ms": 4.0, "error": 0.01},
    ]
    found = [line for line in recurrent_gpu.claims(rows) if "lstm torch.nn, bf16, book" in line]
    assert [line.split(":")[0] for line in found] == ["yes", "NO", "NO"]
    assert all(line.startswith("not measured") for line in recurrent_gpu.claims([]))


def test_a_process_that_fails_goes_on_behind_the_shape(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def run(commands: list[list[str]], seconds: float, end: float) -> list[tuple[int, str]]:
        (words,) = commands
        shapes = words[words.index("--shapes") + 1 :]
        asked.append(shapes)
        report.running.mkdir()
        with (report.running / "recurrent.csv").open("w", newline="") as file:
            writer = csv.DictWriter(file, (*recurrent.COLUMNS, *recurrent.ON_GPU))
            writer.writeheader()
            for shape in shapes:
                if shape == "book":
                    return [(recurrent.UNUSABLE, "WRONG")]
                writer.writerow(OURS | {"shape": shape, "both_ms": 1.0})
        return [(0, "")]

    monkeypatch.setattr(recurrent_gpu, "run", run)
    report = recurrent_gpu.Report(tmp_path / "out", "a GPU")
    assert not recurrent_gpu.time_in_parts(report, "lstm", "bf16", float("inf"))
    assert asked == [list(recurrent_check.TIMED), ["large", "wide"]]
    assert {row["shape"] for row in report.rows} == set(recurrent_check.TIMED) - {"book"}
    assert {path.name for path in report.folder.iterdir()} == {"log.txt", "recurrent_gpu.csv", "recurrent_gpu.md"}


@pytest.mark.skipif(available.refusal(torch.float32, "cpu") is not None, reason="triton cannot run here")
def test_a_check_of_the_triton_backend() -> None:
    check = recurrent_check.SMALL[0]._replace(repeats=1)
    fine, found = recurrent_check.compare("peephole_diagonal", check, "float32", "cpu")
    assert fine, found


def test_what_there_was_no_time_for_is_not_wrong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recurrent_gpu, "run", lambda commands, seconds, end: [(124, "")])
    monkeypatch.setattr(recurrent_gpu.time, "monotonic", iter([0.0, 99.5, 99.5]).__next__)
    report = recurrent_gpu.Report(tmp_path, "a GPU")
    assert recurrent_gpu.time_in_parts(report, "lstm", "bf16", 100.0, ("book", "large"))
    assert report.left_out == ["lstm, bf16: book; large"]
