"""The page of coloured words."""

import torch

from lightning_modules.attention_page import COLOUR, MOST_TEXTS, STRONGEST, attention_page, shades


def test_the_largest_weight_has_the_strongest_colour() -> None:
    assert shades([0.1, 0.4, 0.0]) == [0.25, 1.0, 0.0]
    assert shades([0.0, 0.0]) == [0.0, 0.0]


def test_words_are_escaped_and_a_mistake_is_marked() -> None:
    weights = torch.tensor([0.75, 0.25, 0.0])  # the last one of padding
    page = attention_page([["<script>", "b"], []], [weights, weights], ["x", "y&z"], ["0.5", "1"], ["x", "x"])
    assert "<script>" not in page
    assert 'title="75.00 %">&lt;script&gt;</span>' in page
    assert page.count("<span") == 2
    assert page.count("correct: x") == 1
    assert "y&amp;z <small>100.0 %</small>" in page


def test_a_page_has_an_end() -> None:
    number = MOST_TEXTS + 1
    page = attention_page([["a"]] * number, [torch.ones(1)] * number, ["x"] * number, ["1"] * number)
    assert page.count("<section>") == MOST_TEXTS
    assert f"The first {MOST_TEXTS} of {number} texts" in page


def test_words_are_legible_on_every_colour() -> None:
    """The contrast of the text's colour, #222, is at least 4.5, as WCAG 2 asks for."""
    page = attention_page([["a", "b"]], [torch.tensor([0.6, 0.4])], ["x"], ["1"])
    assert "color: #222" in page
    assert "color:#fff" not in page
    strongest = [255 + STRONGEST * (int(value) - 255) for value in COLOUR.split(",")]
    assert (luminance(strongest) + 0.05) / (luminance([0x22] * 3) + 0.05) > 4.5


def luminance(colour: list[float]) -> float:
    """Return the relative luminance of an sRGB colour, 0..1."""
    linear = [(v / 255 + 0.055) ** 2.4 / 1.055**2.4 if v > 10 else v / 255 / 12.92 for v in colour]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
