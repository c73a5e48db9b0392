"""Colours, markers and line styles that colour-blind readers and grey prints can tell apart."""

# Okabe & Ito (2008), Color universal design, without the yellow, which is hard to see on white.
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#000000", "#56B4E9", "#D55E00")
MARKERS = "os^DvPX*"  # one more than colours, so that 56 classes have different pairs
LINES = ("-", "--", ":", "-.")


def colour(number: int) -> str:
    """Return the colour of a class or a curve by its number; colours repeat."""
    return COLOURS[number % len(COLOURS)]


def marker(number: int) -> str:
    """Return the marker of a class by its number."""
    return MARKERS[number % len(MARKERS)]


def line_style(number: int) -> str:
    """Return the line style of a curve by its number; it changes each time the colours repeat."""
    return LINES[number // len(COLOURS) % len(LINES)]
