"""The command line of a study, and what it leaves for train.py."""

from studies.options import parse


def test_other_options_are_left_for_train() -> None:
    words = "--config a.yaml --seeds 1 2 --trainer.max_steps 5 --vary data.length 10 20 --vary x 1 --config b.yaml"
    options, others = parse(words.split(), "what it does")
    assert options.config == ["a.yaml", "b.yaml"]
    assert options.seeds == [1, 2]
    assert options.vary == [["data.length", "10", "20"], ["x", "1"]]
    assert (options.jobs, options.name) == (1, None)
    assert others == ["--trainer.max_steps", "5"]
    assert parse(["--config", "a.yaml"], None)[0].seeds == [42]
