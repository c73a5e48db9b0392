"""Reading metrics.csv back."""

from pathlib import Path

from lightning_modules.run_files import curve, read_metrics


def test_no_file_is_no_rows(tmp_path: Path) -> None:
    assert read_metrics(tmp_path / "metrics.csv") == []


def test_empty_cells_and_an_unfinished_line_are_left_out(tmp_path: Path) -> None:
    (tmp_path / "metrics.csv").write_text("step,train/loss,val/loss\n0,0.5,\n0,,0.25\n1,0.1")
    rows = read_metrics(tmp_path / "metrics.csv")
    assert rows == [{"step": 0, "train/loss": 0.5}, {"step": 0, "val/loss": 0.25}]
    assert curve(rows, "val/loss") == ([0], [0.25])
    assert curve(rows, "test/loss") == ([], [])


def test_not_a_number_survives(tmp_path: Path) -> None:
    (tmp_path / "metrics.csv").write_text("step,train/loss\n0,nan\n1,inf\n")
    (_, first), (_, second) = (row.items() for row in read_metrics(tmp_path / "metrics.csv"))
    assert first[1] != first[1]
    assert second[1] == float("inf")
