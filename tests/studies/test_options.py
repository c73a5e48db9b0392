"""The command line of a study, and what it leaves for train.py."""

import pytest

from studies.options import parse, slots
from tests.conftest import refusals


def test_other_options_are_left_for_train() -> None:
    words = "--config a.yaml --seeds 1 2 --trainer.max_steps 5 --vary data.length 10 20 --vary x 1 --config b.yaml"
    options, others = parse(words.split(), "what it does")
    assert options.config == ["a.yaml", "b.yaml"]
    assert options.seeds == [1, 2]
    assert options.vary == [["data.length", "10", "20"], ["x", "1"]]
    assert (options.jobs, options.name) == (None, None)
    assert others == ["--trainer.max_steps", "5"]
    options, others = parse(["--config", "a.yaml"], None)
    assert (options.seeds, options.vary, others) == ([42], [], [])


def test_options_of_claims() -> None:
    options, others = parse(["--only", "book", "texts", "--budget", "30"], None)
    assert (options.config, options.only, options.budget, others) == (None, ["book", "texts"], 30, [])


@refusals(
    {
        "--seeds 1": "--seeds needs --config",
        "--config a.yaml --list": "--list cannot be used with --config",
        "--only book --trainer.max_steps 5": "unrecognized arguments: --trainer.max_steps 5; settings of train.py need",
        "--quick --budget 1": "--budget cannot be used with --quick",
        "--partition debug": "--partition needs --executor slurm",
        "--budget 0": "argument --budget: '0' is not a number above 0 and at most 1e+06",
    }
)
def test_options_that_do_not_fit_are_one_line(
    words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        parse(words, None)
    assert stop.value.code == 2
    assert capsys.readouterr().err.startswith(f"study.py: error: {message}")


def test_as_many_jobs_at_a_time_as_there_are_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: 4)
    assert slots(parse([], None)[0], jobs=9) == 4
    assert slots(parse([], None)[0], jobs=3) == 3
    assert slots(parse(["--jobs", "2"], None)[0], jobs=3) == 2
    assert slots(parse(["--executor", "slurm"], None)[0], jobs=9) == 9, "all of them in the queue"
