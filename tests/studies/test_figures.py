"""Pictures of stored training curves."""

from dataclasses import replace
from pathlib import Path

import pytest

from lightning_modules.errors import UserError
from studies.claims import load
from studies.figures import FIGURES, Curves, Lengths, draw, is_drawn_from, read_curves, tags_drawn
from studies.results import store_runs
from tests.studies.small_results import LSTM, run_folder

OUT = Path("results")


def test_a_figure_is_drawn_once_for_its_data(own_folder: Path) -> None:
    figure = FIGURES[0]
    assert draw(figure, OUT) is None, "nothing is stored"
    store_runs(OUT, LSTM, {40: run_folder(own_folder / "40")})
    picture, data = draw(figure, OUT), OUT / "data" / f"{LSTM.id}.csv"
    assert picture == OUT / "figure-1.png"
    assert is_drawn_from(picture, [data])
    picture.write_bytes(content := picture.read_bytes() + b" ")
    draw(figure, OUT)
    assert picture.read_bytes() == content, "not drawn again"
    store_runs(OUT, LSTM, {42: run_folder(own_folder / "42")})
    assert not is_drawn_from(picture, [data])
    draw(figure, OUT)
    assert is_drawn_from(picture, [data])


def test_training_and_held_out_text_in_two_panels(own_folder: Path) -> None:
    panels = {"loss": ("train/loss", "val/loss"), "accuracy": ("train/accuracy",)}
    figure = Curves("both", "book", "Both", "", {"book": "LSTM"}, panels)
    (OUT / "data").mkdir(parents=True)
    (OUT / "data" / "book.csv").write_text("iteration,train/loss 1,val/loss 1,train/accuracy 1\n10,2,,0.5\n20,1,3,1\n")
    iterations, values = read_curves(OUT / "data" / "book.csv")
    assert list(iterations) == [10, 20]
    assert {tag: value.shape for tag, value in values.items()} == dict.fromkeys(
        ("train/loss", "val/loss", "train/accuracy"), (1, 2)
    )
    assert draw(figure, OUT) == OUT / "both.png"
    for damaged in ("step,train/loss 1\n1,2\n", "iteration,train/loss 1\n10,x\n"):
        (OUT / "data" / "book.csv").write_text(damaged)
        with pytest.raises(UserError, match=r"book\.csv is damaged"):
            draw(figure, OUT)


def test_numbers_against_the_length(own_folder: Path) -> None:
    panels = {"accuracy": "accuracy", "iterations": "reached"}
    figure = Lengths("lengths", "palindromes", "Against n", "", (5, 10, 20), {"lstm": "LSTM", "rnn": "RNN"}, panels)
    for n, cell in ((5, "lstm"), (5, "rnn")):
        claim = replace(LSTM, id=f"palindromes-{cell}-{n}")
        store_runs(OUT, claim, {40: run_folder(own_folder / cell)})
    assert draw(figure, OUT) is None, "one point makes no line"
    store_runs(OUT, LSTM, {seed: run_folder(own_folder / str(seed), accuracy=0.7) for seed in (40, 42)})
    accuracies, iterations = figure.drawn(figure.stored(OUT)).axes
    assert figure.stored(OUT).keys() == {"palindromes-lstm-5", "palindromes-lstm-10"}
    assert [list(line.get_xdata()) for line in accuracies.get_lines()[:1]] == [[5, 10]]
    assert [list(line.get_xdata()) for line in iterations.get_lines()[:1]] == [[5]], "n = 10 has not reached it"
    assert draw(figure, OUT) == OUT / "lengths.png"


def test_figures_show_claims_with_runs() -> None:
    runs = {claim.id for claim in load() if claim.runs is not None}
    for figure in FIGURES:
        if isinstance(figure, Curves):
            assert set(figure.curves) <= runs
        if isinstance(figure, Lengths):
            assert {claim for cell in figure.cells for _, claim in figure.claims(cell)} <= runs
    assert len({figure.name for figure in FIGURES}) == len(FIGURES)
    assert tags_drawn(LSTM.id) == ("train/accuracy",)
    assert tags_drawn("unknown") == ()
