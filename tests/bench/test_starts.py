"""The mean over process starts, its interval, and the range for another repetition: against SciPy, and by drawing."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from brain_edge.bench.starts import Change, estimate


def test_the_mean_of_ratios_is_the_ratio_of_means():
    first, second = [2.0, 8.0, 3.0, 4.0, 9.0], [1.0, 3.0, 2.0, 5.0, 2.0]
    ratios = [one / other for one, other in zip(first, second, strict=True)]
    assert estimate(ratios).value == pytest.approx(estimate(first).value / estimate(second).value)


def test_the_interval_is_students_on_logarithms():
    values = [4.0, 5.0, 4.5, 4.8, 5.5]
    logs = np.log(values)
    expected = np.exp(stats.t.interval(0.95, 4, loc=logs.mean(), scale=stats.sem(logs)))
    found = estimate(values).interval
    assert found is not None
    assert (found.low, found.high) == pytest.approx(tuple(expected))


def test_fewer_than_five_starts_have_no_interval():
    """Three whole cases of 1 start each are three starts; one process that ran seven rounds is one."""
    for found in (estimate([4.0]), estimate([4.0] * 4), estimate([4.0], [5.0], [6.0])):
        assert (found.interval, found.repetition) == (None, None)
    assert str(estimate([4.0])) == "4.00 (1 start)"
    assert str(estimate([4.0], [4.0])) == "4.00 (2 starts)"
    assert estimate([4.0, 5.0], [4.0, 5.0, 6.0]).interval is not None


def test_five_repetitions_are_units_of_their_own():
    """Starts that are all alike within their hour say nothing of the hour."""
    hours = [[value] * 5 for value in (3.2, 2.7, 2.8, 2.6, 3.4)]
    alone, together = estimate(*([of_one[0]] for of_one in hours)), estimate(*hours)
    assert together.interval == alone.interval
    assert together.repetition == alone.repetition
    assert (together.starts, together.repetitions) == (25, 5)


@pytest.mark.parametrize("repetitions", [1, 5])
def test_the_range_holds_another_repetition(repetitions: int):
    """Nine of ten, also where the hours differ by half as much as the starts, and starts have two modes."""
    draw = np.random.default_rng(0)
    held = 0
    for _ in range(1000):
        hours = draw.normal(0, 0.05, repetitions + 1)
        logs = hours[:, None] + 0.2 * draw.integers(0, 2, (repetitions + 1, 5))
        *known, other = np.exp(logs)
        found = estimate(*known).repetition
        assert found is not None
        held += found.low <= estimate(other).value <= found.high
    assert held >= 900


def test_a_change_is_one_that_neither_side_expects():
    steady, wild = [4.0, 4.1, 4.0, 4.1, 4.05], [2.0, 4.0, 3.0, 5.0, 2.5]
    lower = [value * 0.8 for value in steady]
    assert estimate(steady).change_to(estimate(lower)) is Change.LOWER
    assert estimate(lower).change_to(estimate(steady)) is Change.HIGHER
    assert estimate(steady).change_to(estimate([value * 0.99 for value in steady])) is Change.NOISE
    assert estimate(steady).change_to(estimate(wild)) is Change.NOISE
    assert estimate(wild).change_to(estimate(steady)) is Change.NOISE
    assert estimate(steady).change_to(estimate([1.0])) is Change.UNKNOWN


def test_nothing_has_no_mean():
    nothing: tuple[list[float], ...]
    for nothing in ((), ([],), ([4.0], [])):
        with pytest.raises(ValueError, match="got none"):
            estimate(*nothing)
