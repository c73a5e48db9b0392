"""The iteration at which a task is solved, and the accuracy of the plateau before."""

import pytest

from studies.solving import plateau, reached


def test_the_first_iteration_at_which_a_mean_is_high_enough() -> None:
    curve = [0.5] * 100 + [1.0] * 100
    assert reached(curve) == 150
    assert reached(curve, 0.75, 20) == 110
    assert reached([1.0] * 49) is None
    assert reached([0.9] * 3000) is None
    assert reached([0.999] * 60) == 50  # whatever the rounding of the sum


def test_the_plateau_is_between_the_start_and_the_rise() -> None:
    curve = [0.3] * 20 + [0.6, 0.7] * 50 + [1.0] * 500
    assert plateau(curve) == pytest.approx(0.65, abs=0.01)
    assert plateau([0.3] * 20 + [2 / 3] * 100) == pytest.approx(2 / 3)  # never left
    assert plateau([0.5] * 10 + [1.0] * 100) is None
