"""A page of texts whose words are coloured by their attention: one HTML file that needs no other.

Legend: T words of a text.
"""

from collections.abc import Sequence
from html import escape

from torch import Tensor

MOST_TEXTS = 200  # on a page
COLOUR = "0,114,178"  # blue of Okabe & Ito, which colour-blind readers can tell from white
STRONGEST = 0.7  # opacity of the largest weight; dark words on it are still legible
STYLE = """
body { font: 16px/1.7 system-ui, sans-serif; max-width: 52rem; margin: 2rem auto; padding: 0 1rem; }
body { color: #222; background: #fff; }
section { border-top: 1px solid #ccc; padding: 0.8rem 0; }
h2 { font-size: 1rem; margin: 0 0 0.4rem; }
.wrong { color: #a33; }
p { margin: 0; overflow-wrap: anywhere; }
span { padding: 0.1em 0.15em; border-radius: 0.2em; }
"""


def shades(weights: Sequence[float]) -> list[float]:
    """Return the strength of each word's colour, 0..1: its weight as a fraction of the largest in its text."""
    largest = max(weights, default=0.0)
    return [weight / largest if largest > 0 else 0.0 for weight in weights]


def attention_page(
    texts: Sequence[Sequence[str]],
    attention: Sequence[Tensor],
    predicted: Sequence[str],
    probability: Sequence[str],
    known: Sequence[str] | None = None,
) -> str:
    """Return the page.

    Args:
        texts: the words of each text that the network has read.
        attention: the weights of the words of each text [T or more]; those of a text sum to 1.
        predicted: the class that is predicted for each text.
        probability: its probability.
        known: the correct class of each text, if it is known.
    """
    sections = []
    for number, words in enumerate(texts[:MOST_TEXTS]):
        weights = attention[number][: len(words)].tolist()
        title = f"{escape(predicted[number])} <small>{100 * float(probability[number]):.1f} %</small>"
        if known is not None and known[number] != predicted[number]:
            title += f' <small class="wrong">correct: {escape(known[number])}</small>'
        spans = [
            f'<span style="background:rgba({COLOUR},{STRONGEST * shade:.3f})" '
            f'title="{100 * weight:.2f} %">{escape(word)}</span>'
            for word, weight, shade in zip(words, weights, shades(weights), strict=True)
        ]
        sections.append(f"<section><h2>{title}</h2><p>{' '.join(spans) or '(no words)'}</p></section>")
    more = f"<p>The first {MOST_TEXTS} of {len(texts)} texts.</p>" if len(texts) > MOST_TEXTS else ""
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>Attention</title>\n'
        f"<style>{STYLE}</style></head>\n<body><h1>What the network looks at</h1>\n"
        "<p>Above each text are the predicted class and its probability. The stronger the colour of a word, the larger "
        "its attention weight; the strongest colour is the text's largest weight. Point at a word to see its weight. "
        "The weights of a text sum to 100 %.</p>\n"
        f"{more}\n" + "\n".join(sections) + "\n</body></html>\n"
    )
