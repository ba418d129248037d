"""Statistics: what n test subjects imply for the population.

The statement bounds the fraction of all subjects that exceeds the limit for a single case. A sealed package exceeds the
limit in none of its n test subjects. If each subject of the population exceeds it with probability p, this outcome has
probability (1 - p)^n. Every p with (1 - p)^n < 1 - confidence is ruled out (exact binomial, one-sided: Clopper and
Pearson 1934).

Sealing is no condition: over all drawn cohorts, refused ones included, at most a fraction of 1 - confidence leads to a
false statement. The bound also holds for a limit chosen after the look, because that limit is at least the worst drop
of n subjects; with probability (1 - p)^n, more than a fraction p exceeds the worst drop (tolerance limit, Wilks 1941).
The bound does not hold for the best of several candidates; they therefore share 1 - confidence (Bonferroni).
"""

from __future__ import annotations

import math
from collections import defaultdict
from statistics import fmean
from typing import TYPE_CHECKING, Final

import numpy as np

from brain_edge.errors import BudgetError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from brain_edge_conversion.budget.budget import AccuracyBudget

USUAL_CONFIDENCE: Final = 0.95
USUAL_EXCEEDANCE: Final = 0.1
BOOTSTRAP_SUBJECTS: Final = 10
"""Smallest number of subjects for a bootstrap interval of the mean; with fewer subjects the interval is too narrow."""
BOOTSTRAP_SAMPLES: Final = 10_000
SEED: Final = 20261121


def exceedance(subjects: int, confidence: float = USUAL_CONFIDENCE) -> float:
    """Return the upper bound on the fraction of a population above a limit that none of `subjects` exceeds.

    >>> round(exceedance(19), 3), round(exceedance(29), 3)
    (0.146, 0.098)
    """
    return float(1 - (1 - confidence) ** (1 / subjects))


def subjects_needed(confidence: float, share: float) -> int:
    """Return the smallest number of test subjects, all within the limit, that bounds the fraction above it by `share`.

    >>> subjects_needed(0.95, 0.1), subjects_needed(0.95, 0.05), subjects_needed(0.9, 0.5)
    (29, 59, 4)
    """
    # a rounding error must not add or remove a subject
    return math.ceil(round(math.log(1 - confidence) / math.log(1 - share), 9))


def shared(confidence: float, others: int) -> float:
    """Return the confidence that each candidate needs, so that all candidates together have `confidence`."""
    return 1 - (1 - confidence) / (1 + others)


def require_confidence(budget: AccuracyBudget, subjects: int, where: str) -> None:
    """Refuse, before anything is computed, a confidence that needs more subjects than there are.

    Raises:
        BudgetError: test subjects are missing; the message says how many.
    """
    missing = budget.subjects_needed - subjects
    if missing > 0:
        raise BudgetError(
            f"expected {budget.subjects_needed} test subjects for --confidence {budget.confidence:g} that at most "
            f"{budget.exceedance_limit:.0%} of all people exceed --max-case-drop, {where} has {subjects}; add "
            f"{missing}. "
            "No package was written"
        )


def mean_over_subjects(drops: Iterable[tuple[int, float]]) -> float:
    """Return the mean over subjects of each subject's mean, from at least one (subject, drop) pair."""
    by_subject: defaultdict[int, list[float]] = defaultdict(list)
    for subject, drop in drops:
        by_subject[subject].append(drop)
    return fmean(fmean(values) for values in by_subject.values())


def worst_by_subject(drops: Sequence[tuple[int, float]]) -> dict[int, float]:
    """Subject -> its worst drop over cases and labels, from (subject, drop) pairs."""
    worst: dict[int, float] = {}
    for subject, drop in drops:
        worst[subject] = max(drop, worst.get(subject, -math.inf))
    return worst


def next_patient(worst: Mapping[int, float], limit: float, what: str, others: int = 0) -> str:
    """Return one sentence about subjects outside the test split.

    Args:
        worst: test subject -> its worst drop.
        limit: limit on the drop of a single case.
        what: name of the figure ("drop" or "disagreement with FP32").
        others: number of candidates judged on these subjects before.
    """
    count, above = len(worst), sum(drop > limit for drop in worst.values())
    if above:
        return (
            f"The worst {what} of {above} of {count} test subject(s) exceeds the limit for a single case ({limit:g})."
        )
    share = exceedance(count, shared(USUAL_CONFIDENCE, others))
    among = f" (for this and {others} other candidate(s) together)" if others else ""
    return (
        f"With {USUAL_CONFIDENCE:.0%} confidence{among}, the worst {what} of at most {share:.1%} of all subjects "
        f"of the same population exceeds {limit:g}: none of these {count} test subject(s) does (exact binomial)."
    )


def mean_interval(drops: Sequence[tuple[int, float]]) -> tuple[float, float] | None:
    """Return the 95 % percentile bootstrap interval of the mean drop over subjects; None below 10 subjects.

    Subjects are drawn, each with the mean of its cases, as in the mean that the budget binds: two visits of one person
    are not independent (Efron and Tibshirani 1993, 13.3).
    """
    by_subject: defaultdict[int, list[float]] = defaultdict(list)
    for subject, drop in drops:
        by_subject[subject].append(drop)
    if len(by_subject) < BOOTSTRAP_SUBJECTS:
        return None
    means = np.array([fmean(values) for values in by_subject.values()])
    draws = np.random.Generator(np.random.PCG64(SEED)).integers(0, len(means), (BOOTSTRAP_SAMPLES, len(means)))
    low, high = np.percentile(means[draws].mean(axis=1), [2.5, 97.5])
    return float(low), float(high)
