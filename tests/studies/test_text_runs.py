"""The settings of a text classifier's run say which row of the tables it belongs to."""

from pathlib import Path

import pytest

from lightning_modules.errors import UserError
from studies.text_runs import Row, accuracies
from tests.studies.small_text_runs import NETWORKS, text_run


def test_every_row(own_folder: Path) -> None:
    networks = [*NETWORKS, "bag of words"]
    runs = [text_run(own_folder / str(k), network, 3, 0.1 * k) for k, network in enumerate(networks)]
    runs.append(text_run(own_folder / "t", "graph", 4, 0.9, transductive=True, name="MR", label_fraction=0.05))
    expected = {Row("R8", network, 1.0): {3: 0.1 * k} for k, network in enumerate(networks)}
    assert accuracies(runs) == expected | {Row("MR", "graph, transductive", 0.05): {4: 0.9}}


def test_other_runs_are_refused(own_folder: Path) -> None:
    run = text_run(own_folder / "run", "graph", 0, 0.5)
    (run / "config.yaml").write_text("data: {class_path: datamodules.toy_tasks.Palindromes}")
    with pytest.raises(UserError, match="run is no run on labelled texts"):
        accuracies([run])
    (run / "summary.json").write_text('{"accuracy": 0.5, "steps_per_second": 1.0, "solved_at": null}')
    with pytest.raises(UserError, match=r"summary.json has no test/accuracy"):
        accuracies([run])


def test_texts_of_ones_own_are_not_taken_for_a_named_set(own_folder: Path) -> None:
    with pytest.raises(UserError, match=r"run has texts of its own"):
        accuracies([text_run(own_folder / "run", "hybrid", 0, 0.5, path="mine.tsv")])


def test_of_two_runs_none_replaces_the_other(own_folder: Path) -> None:
    runs = [text_run(own_folder / name, "hybrid", 0, 0.5) for name in ("first", "second")]
    with pytest.raises(UserError, match=r"second is a second run of hybrid on R8 with seed 0"):
        accuracies(runs)
