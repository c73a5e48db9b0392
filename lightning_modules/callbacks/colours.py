"""Colours and marks that also those can tell apart who see red and green alike, or a picture in grey."""

# Okabe & Ito (2008), Color universal design, without the yellow, which is hard to see on white.
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#000000", "#56B4E9", "#D55E00")
MARKERS = "os^DvPX*"  # one more than colours: 56 classes each have a pair of their own
LINES = ("-", "--", ":", "-.")


def colour(number: int) -> str:
    """Return the colour of a class or a curve by its number; they come round again."""
    return COLOURS[number % len(COLOURS)]


def marker(number: int) -> str:
    """Return the mark of a class by its number."""
    return MARKERS[number % len(MARKERS)]


def line(number: int) -> str:
    """Return the line style of a curve by its number: another one for each round of the colours."""
    return LINES[number // len(COLOURS) % len(LINES)]
