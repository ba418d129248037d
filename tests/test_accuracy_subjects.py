"""What is said about the next patient: counted over subjects, and no more than they can carry."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import bootstrap

from brain_edge.errors import BudgetError
from brain_edge_conversion.budget.subjects import (
    exceedance,
    mean_interval,
    next_patient,
    require_confidence,
    subjects_needed,
    worst_by_subject,
)


@pytest.mark.parametrize(
    ("confidence", "subjects"), [(0.95, 19), (0.9, 9), (0.99, 99), (0.5, 1), (0.951, 20), (0.3, 1)]
)
def test_subjects_needed(confidence: float, subjects: int):
    assert subjects_needed(confidence) == subjects


@given(st.floats(0.01, 0.999))
def test_with_one_subject_less_the_confidence_is_not_reached(confidence: float):
    needed = subjects_needed(confidence)
    assert exceedance(needed) <= 1 - confidence + 1e-6
    assert needed == 1 or exceedance(needed - 1) > 1 - confidence - 1e-6


def test_the_next_subject_exceeds_the_worst_of_n_as_often_as_said():
    """Simulated: exchangeable subjects, whatever the distribution of their drops."""
    drops = np.random.default_rng(1).lognormal(-6, 1.5, (20_000, 8))
    exceeded = (drops[:, -1] > drops[:, :-1].max(axis=1)).mean()
    assert exceeded == pytest.approx(exceedance(7), abs=0.01)


def test_a_confidence_that_so_few_subjects_cannot_give_is_refused():
    words = r"^--confidence 0\.95 needs 19 test subjects, the cohort x has 4: 15 more needed; no package was written$"
    with pytest.raises(BudgetError, match=words) as refused:
        require_confidence(0.95, 4, "the cohort x")
    assert refused.value.exit_code == 4
    require_confidence(0.95, 19, "the cohort x")
    require_confidence(None, 0, "the cohort x")


def test_the_unit_is_the_subject_and_its_worst_case():
    worst = worst_by_subject([(1, 0.001), (1, 0.02), (2, -0.01), (2, -0.03)])
    assert worst == {1: 0.02, 2: -0.01}
    assert next_patient(worst, "drop") == (
        "For a new subject from the same population as these 2 test subject(s), the probability that its worst drop "
        "exceeds the worst seen (0.02000) is at most 1/3 = 33% (on average over subjects and test sets, not for one "
        "given patient)."
    )


def test_below_ten_subjects_there_is_no_interval():
    assert mean_interval([(subject, 0.001) for subject in range(9)]) is None
    assert mean_interval([(subject % 9, 0.001 * subject) for subject in range(40)]) is None


def test_the_interval_is_that_of_scipy():
    drops = np.random.default_rng(3).normal(0.002, 0.001, 14)
    interval = mean_interval([(subject, float(drop)) for subject, drop in enumerate(drops)])
    theirs = bootstrap((drops,), np.mean, n_resamples=10_000, method="percentile", rng=4).confidence_interval
    assert interval == pytest.approx((theirs.low, theirs.high), abs=3e-5)


def test_the_interval_is_of_the_mean_that_the_budget_binds():
    """One subject came twelve times, and its cases weigh twelve times in the mean over cases."""
    drops = [*((subject, 0.001) for subject in range(11)), *((11, 0.02) for _ in range(12))]
    interval = mean_interval(drops)
    assert interval is not None
    mean = float(np.mean([drop for _, drop in drops]))
    assert interval[0] < mean < interval[1]


def test_a_second_visit_is_no_second_witness():
    once = [(subject, 0.001 * subject) for subject in range(12)]
    assert mean_interval([*once, *once]) == pytest.approx(mean_interval(once))
