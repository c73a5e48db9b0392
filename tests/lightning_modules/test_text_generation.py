"""Where samples end, and parts of a stream."""

from pathlib import Path

from kernels.decode import Sampling
from lightning_modules.saved_language_model import load_language_model
from lightning_modules.text_generation import TextGenerator, before_stop, continuations

SAMPLING = Sampling(temperature=1.0, greedy=False, top_k=0, top_p=1.0)


def test_the_stop_that_is_complete_first() -> None:
    stops = ("cde", "bc", "abc", "x")
    assert before_stop("zabcde", stops) == "z"
    assert before_stop("zbcde", stops) == "z"
    assert before_stop("zcde", stops) == "z"
    assert before_stop("zz", stops) == "zz"


def test_samples_begin_after_the_prompt_however_often_they_are_drawn(language_model: Path) -> None:
    generator = TextGenerator(load_language_model(language_model), "ab")
    first = generator.samples(2, 20, 3, SAMPLING)
    assert len(generator.score("cd")["log_probabilities"]) == 2
    assert "".join(generator.stream(1, 20, 3, SAMPLING)) == first[1]["text"]
    assert generator.samples(2, 20, 3, SAMPLING) == first


def test_continuations_are_those_of_one_prompt_each(language_model: Path) -> None:
    network = load_language_model(language_model).eval()
    samples = TextGenerator(network, "ab").samples(2, 20, 3, SAMPLING)
    texts = continuations(network, ["ab", "ab", "cd"], 20, SAMPLING, seed=3)
    assert texts[:2] == [sample["text"] for sample in samples]
    greedy = Sampling(greedy=True)
    for prompt, text in zip(("ab", "cd"), continuations(network, ["ab", "cd"], 20, greedy), strict=True):
        assert text == TextGenerator(network, prompt).samples(1, 20, 0, greedy)[0]["text"]
