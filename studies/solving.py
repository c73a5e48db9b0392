"""When a run solves its task, and the plateau before: numbers read from the training accuracy of every iteration."""

from itertools import accumulate

REACHED, WINDOW = 0.999, 50  # the accuracy, and the iterations of the mean that must reach it
LEFT, SHORT_WINDOW = 0.75, 20  # the plateau's end: a mean over a few iterations that a plateau does not have


def reached(accuracies: list[float], least: float = REACHED, window: int = WINDOW) -> int | None:
    """Return the first iteration, counted from 1, at which the mean over a window reaches an accuracy.

    Args:
        accuracies: the training accuracy of every iteration.
        least: the accuracy.
        window: the number of iterations in the mean.
    """
    sums = [0.0, *accumulate(accuracies)]
    ends = range(window, len(sums))
    return next((end for end in ends if sums[end] - sums[end - window] >= window * (least - 1e-9)), None)


def plateau(accuracies: list[float]) -> float | None:
    """Return the mean accuracy from iteration 21 to the last one before the mean over 20 iterations reaches 0.75.

    The first 20 iterations and the last 20 are left out: there the network learns to give one answer, and to remember.

    Args:
        accuracies: the training accuracy of every iteration.

    Returns:
        The accuracy, None if fewer than 20 iterations are left.
    """
    end = reached(accuracies, LEFT, SHORT_WINDOW)
    flat = accuracies[SHORT_WINDOW : len(accuracies) if end is None else end - SHORT_WINDOW]
    return sum(flat) / len(flat) if len(flat) >= SHORT_WINDOW else None
