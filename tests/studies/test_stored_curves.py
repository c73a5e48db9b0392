"""Stored training curves."""

from pathlib import Path

from studies.stored_curves import thinned
from tests.studies.small_results import run_folder


def test_thin_curves_have_few_rows(own_folder: Path) -> None:
    columns = thinned({1: run_folder(own_folder / "1", steps=3000)}, ("train/accuracy",))
    assert columns["iteration"][:2] == [10, 20]
    assert columns["iteration"][-1] == 3000
    assert len(columns["train/accuracy 1"]) == 300
