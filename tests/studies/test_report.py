"""The table and the curves of a study."""

import json
from pathlib import Path

import pytest

from studies.report import primary_metric_of, write_report
from studies.runs import plan


def test_a_study_of_another_quantity_than_accuracy(own_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runs = plan(["palindrome_lstm.yaml"], [1, 2], [], [])
    folders = {run: own_folder / str(run.seed) for run in runs}
    for run, folder in folders.items():
        folder.mkdir()
        summary = {"primary_metric": "rmse", "test/rmse": run.seed / 4, "steps_per_second": 2}
        (folder / "summary.json").write_text(json.dumps(summary))
        (folder / "metrics.csv").write_text("step,train/rmse\n0,2.5\n1,1.5\n")
    write_report(folders, own_folder)
    assert "| setting | seeds | test/rmse | steps/s |" in capsys.readouterr().out
    assert "| palindrome_lstm | 1 2 | 0.375 ± 0.177 | 2.0 |" in (own_folder / "table.md").read_text()
    assert primary_metric_of(own_folder / "1") == "rmse"


def test_settings_that_are_scored_in_one_way_share_a_table(own_folder: Path) -> None:
    finished = {}
    for name, tag in (("karate", "test/accuracy"), ("knowledge_graph", "test/mrr"), ("karate_gat", "test/accuracy")):
        (run,) = plan(["palindrome_lstm.yaml"], [1], [], [])
        run.parts, folder = [name], own_folder / name
        folder.mkdir()
        (folder / "metrics.csv").write_text("step,train/accuracy\n0,0.5\n")
        (folder / "summary.json").write_text(json.dumps({tag: 0.5, "steps_per_second": 10}))
        finished[run] = folder
    write_report(finished, own_folder)
    tables = (own_folder / "table.md").read_text().split("\n\n")[:2]
    assert [[line.split(" | ")[0] for line in table.splitlines()] for table in tables] == [
        ["| setting", "| ---", "| karate", "| karate_gat"], ["| setting", "| ---", "| knowledge_graph"],
    ]  # fmt: skip


def test_a_task_without_accuracy_is_reported_by_its_test_metrics(
    own_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    finished = {}
    for run in plan(["knowledge_graph.yaml"], [1, 2], [], []):
        folder = own_folder / str(run.seed)
        folder.mkdir()
        (folder / "metrics.csv").write_text(f"step,train/loss\n0,{5 + run.seed}\n1,4.0\n")
        (folder / "summary.json").write_text(f'{{"test/mrr": 0.{run.seed}, "steps_per_second": 10}}')
        finished[run] = folder
    write_report(finished, own_folder)
    assert "| knowledge_graph | 1 2 | 0.150 ± 0.071 | 10.0 |" in capsys.readouterr().out
    assert (own_folder / "curves.png").read_bytes().startswith(b"\x89PNG")
