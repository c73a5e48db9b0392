"""benchmarks.training_step, which benchmarks.precisions uses as well."""

import sys

import pytest

from benchmarks import training_step


def test_data_that_are_missing_are_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("RESEARCH_DATA_DIR", raising=False)
    monkeypatch.setattr(sys, "argv", ["training_step", "--side", "cora_gcn.yaml", "--steps", "2"])
    with pytest.raises(SystemExit) as stop:
        training_step.main()
    out, err = capsys.readouterr()
    assert (stop.value.code, out, err.count("\n")) == (2, "", 1)
    assert err.startswith("train.py: error: Cora is not in data/Planetoid/Cora/raw; add --data.download true")
