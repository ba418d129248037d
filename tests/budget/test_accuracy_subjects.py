"""What is said about the next patient: counted over subjects, and no more than they can carry."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest, bootstrap

from brain_edge.errors import BudgetError
from brain_edge_conversion.budget.budget import AccuracyBudget
from brain_edge_conversion.budget.subjects import (
    exceedance,
    mean_interval,
    mean_over_subjects,
    next_patient,
    require_confidence,
    subjects_needed,
    worst_by_subject,
)


@pytest.mark.parametrize(
    ("confidence", "share", "subjects"),
    [(0.95, 0.1, 29), (0.95, 0.05, 59), (0.9, 0.1, 22), (0.5, 0.5, 1), (0.99, 0.01, 459), (0.91, 0.7, 2)],
)
def test_subjects_needed(confidence: float, share: float, subjects: int):
    assert subjects_needed(confidence, share) == subjects


@given(st.floats(0.01, 0.999), st.floats(0.01, 0.9))
def test_with_one_subject_less_the_confidence_is_not_reached(confidence: float, share: float):
    needed = subjects_needed(confidence, share)
    assert exceedance(needed, confidence) <= share + 1e-6
    assert needed == 1 or exceedance(needed - 1, confidence) > share - 1e-6


@pytest.mark.parametrize("subjects", [1, 10, 19, 60])
def test_the_bound_is_the_exact_binomial_of_scipy(subjects: int):
    theirs = binomtest(0, subjects).proportion_ci(0.9, method="exact").high  # two sides of 5 %
    assert exceedance(subjects) == pytest.approx(theirs, abs=1e-9)


@pytest.mark.parametrize("subjects", [3, 10, 19, 60])
@pytest.mark.parametrize("share", [0.02, 0.05, 0.1, 0.2, 0.5])
def test_a_false_statement_is_printed_as_rarely_as_stated(subjects: int, share: float):
    """Of all cohorts that are drawn, refused ones counted: it is printed where no test subject exceeds the limit."""
    draws = 20_000
    exceeding = np.random.default_rng(7).binomial(subjects, share, draws)
    is_false = share > exceedance(subjects)
    printed_and_false = (exceeding == 0).mean() if is_false else 0.0
    assert printed_and_false <= 0.05 + 3 * (0.05 * 0.95 / draws) ** 0.5


def test_a_confidence_that_so_few_subjects_cannot_give_is_refused():
    words = (
        r"^expected 29 test subjects for --confidence 0\.95 that at most 10% of all people exceed --max-case-drop, the "
        r"cohort x has 4; add 25\. No package was written$"
    )
    asked = AccuracyBudget(confidence=0.95)
    with pytest.raises(BudgetError, match=words) as refused:
        require_confidence(asked, 4, "the cohort x")
    assert refused.value.exit_code == 4
    require_confidence(asked, 29, "the cohort x")
    with pytest.raises(BudgetError, match="has 28; add 1"):
        require_confidence(asked, 28, "the cohort x")
    require_confidence(AccuracyBudget(confidence=0.95, max_exceedance=0.2), 14, "the cohort x")
    require_confidence(AccuracyBudget(), 0, "the cohort x")


def test_the_unit_is_the_subject_and_its_worst_case():
    worst = worst_by_subject([(1, 0.001), (1, 0.02), (2, -0.01), (2, -0.03)])
    assert worst == {1: 0.02, 2: -0.01}
    assert next_patient(worst, 0.02, "drop") == (
        "With 95% confidence, the worst drop of at most 77.6% of all subjects of the same population exceeds 0.02: "
        "none of these 2 test subject(s) does (exact binomial)."
    )
    assert next_patient(worst, 0.01, "drop") == (
        "The worst drop of 1 of 2 test subject(s) exceeds the limit for a single case (0.01)."
    )


def test_below_ten_subjects_there_is_no_interval():
    assert mean_interval([(subject, 0.001) for subject in range(9)]) is None
    assert mean_interval([(subject % 9, 0.001 * subject) for subject in range(40)]) is None


def test_the_interval_is_that_of_scipy():
    drops = np.random.default_rng(3).normal(0.002, 0.001, 14)
    interval = mean_interval([(subject, float(drop)) for subject, drop in enumerate(drops)])
    theirs = bootstrap((drops,), np.mean, n_resamples=10_000, method="percentile", rng=4).confidence_interval
    assert interval == pytest.approx((theirs.low, theirs.high), abs=3e-5)


def test_who_came_more_often_does_not_weigh_more():
    """One subject came twelve times with a drop of 0: its visits do not pay for the others."""
    drops = [*((subject, 0.02) for subject in range(11)), *((11, 0.0) for _ in range(12))]
    assert mean_over_subjects(drops) == pytest.approx(11 * 0.02 / 12)
    interval = mean_interval(drops)
    assert interval is not None
    assert interval[0] < mean_over_subjects(drops) < interval[1]


def test_a_second_visit_is_no_second_witness():
    once = [(subject, 0.001 * subject) for subject in range(12)]
    assert mean_interval([*once, *once]) == pytest.approx(mean_interval(once))
