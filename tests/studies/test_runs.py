"""The runs of a study: which there are, and which have finished."""

from collections.abc import Callable
from pathlib import Path

import pytest

from lightning_modules.errors import UserError
from studies.runs import StudyRun, plan, short_names
from tests.conftest import SMALL, finish

RUNS = Path("runs/palindrome_lstm")


def test_plan_is_the_product_of_configs_settings_and_seeds() -> None:
    configs = ["palindrome_lstm.yaml", "palindrome_rnn.yaml"]
    runs = plan(configs, [40, 42], [["data.length", "4", "6"]], ["--trainer.max_steps", "5"])
    assert len(runs) == 8
    first = runs[0]
    assert str(first) == "palindrome_lstm data.length=4 seed 40"
    assert first.folder == RUNS
    assert first.settings["data"]["init_args"]["length"] == 4
    assert first.settings["trainer"]["max_steps"] == 5
    assert first.settings["seed_everything"] == 40


def test_every_run_has_a_log_of_its_own() -> None:
    runs = plan(["palindrome_lstm.yaml"], [1, 2], [["trainer.default_root_dir", "a b", "a_b"]], [])
    assert len({run.log for run in runs}) == 4
    assert runs[0].log == "palindrome_lstm_trainer.default_root_dir=a b_seed_1.log"


def test_plan_refuses_what_train_would_refuse() -> None:
    with pytest.raises(UserError, match=r"there is no 'nothing\.yaml'"):
        plan(["nothing.yaml"], [1], [], [])
    with pytest.raises(UserError, match="a key and at least one value"):
        plan(["palindrome_lstm.yaml"], [1], [["data.length"]], [])
    with pytest.raises(
        UserError, match="--ckpt_path cannot be used in a study: interrupted runs continue by themselves"
    ):
        plan(["palindrome_lstm.yaml"], [1], [], ["--ckpt_path=last"])


def test_a_seed_of_the_data_makes_another_run() -> None:
    plain, given, other = (
        plan(["palindrome_lstm.yaml"], [1], [], words)[0] for words in ([], ["--data.seed", "7"], ["--data.seed", "8"])
    )
    for version, run in enumerate((plain, given)):
        finish(run, version)
    assert plain.finished() == RUNS / "version_0"
    assert given.finished() == RUNS / "version_1"
    assert other.finished() is None


def test_a_run_stopped_after_its_last_step_is_picked_up(train: Callable[..., tuple[int, str, str]]) -> None:
    words = ("--trainer.max_steps", "2")
    run = StudyRun([], 3, [*SMALL, *words])
    words += ("--seed_everything", "3")
    assert train(*words)[0] == 0
    assert run.finished()
    (RUNS / "version_0" / "summary.json").unlink()
    assert run.interrupted()
    assert run.command()[2:] == [*SMALL, *words, "--ckpt_path", "last"]
    assert run.under_way() == RUNS / "version_0"
    assert train(*words, "--ckpt_path", "last")[0] == 0
    assert run.finished() == RUNS / "version_0"
    assert run.under_way() is None
    assert run.command()[2:] == [*SMALL, *words]


def test_a_run_with_another_seed_is_parsed_alike() -> None:
    first, second = plan(["palindrome_lstm.yaml"], [1, 2], [], [])
    alone = plan(["palindrome_lstm.yaml"], [2], [], [])[0]
    assert (second.settings, second.words, second.log) == (alone.settings, alone.words, alone.log)
    assert first.settings["seed_everything"] == 1
    assert first.steps == 3000
    assert plan(["karate_gcn.yaml"], [1], [], [])[0].steps is None, "its length is given in epochs"
    with pytest.raises(UserError, match=r"--seeds: .*-1"):
        plan(["palindrome_lstm.yaml"], [1, -1], [], [])


def test_classes_are_named_by_the_last_part_of_their_path() -> None:
    assert short_names(["kernels.GRU", "kernels.LSTM", "0.5"]) == {
        "kernels.GRU": "GRU", "kernels.LSTM": "LSTM", "0.5": "0.5",
    }  # fmt: skip
    assert short_names(["torch.nn.LSTM", "kernels.LSTM"])["kernels.LSTM"] == "kernels.LSTM", "two of one name"
