"""The picture of texts: which texts are chosen, and what is drawn."""

import torch

from lightning_modules.attention_page import STRONGEST
from lightning_modules.callbacks.text_pictures import WORDS, choose, draw_texts


def test_each_class_has_its_longest_text_that_is_short_enough() -> None:
    texts = [["w"] * length for length in (3, 5, WORDS + 1, 4, 0)]
    assert choose(texts, ["a", "a", "a", "b", "c"]) == [1, 3]


def test_words_stand_in_lines_on_colours_as_strong_as_their_weights() -> None:
    figure = draw_texts([["one", "two"], ["x" * 200]], torch.tensor([[0.2, 0.8], [1.0, 0.0]]), ["first", "second"])
    (plot,) = figure.axes
    assert [text.get_text() for text in plot.texts][:4] == ["first", "one", "two", "second"]
    assert [bar.get_alpha() for bar in plot.patches] == [STRONGEST * 0.25, STRONGEST, STRONGEST]
    assert {text.get_color() for text in plot.texts} == {"black"}
    one, two, long = plot.patches
    assert (one.get_x(), two.get_x()) == (0, 4)
    assert one.get_y() == two.get_y() < long.get_y()
    assert long.get_width() < plot.get_xlim()[1]
