"""What the test subjects say about the next one.

Exchangeability alone: if a new subject comes from the population of the n test subjects, each of the n + 1 is as
likely as any other to have the worst drop (order statistics; conformal prediction with n scores). So the worst of n
is exceeded with probability 1 / (n + 1) at most, averaged over test sets and subjects, not for one given patient.
"""

from __future__ import annotations

import math
from collections import defaultdict
from typing import TYPE_CHECKING, Final

import numpy as np

from brain_edge.errors import BudgetError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

USUAL_CONFIDENCE: Final = 0.95
BOOTSTRAP_SUBJECTS: Final = 10
"""Below this a bootstrap interval of the mean is narrower than it should be: it only knows the values it has seen."""
BOOTSTRAP_SAMPLES: Final = 10_000
SEED: Final = 20261121


def exceedance(subjects: int) -> float:
    """Greatest probability that a new subject is worse than the worst of these."""
    return 1 / (subjects + 1)


def subjects_needed(confidence: float) -> int:
    """The least number of test subjects with which the worst seen bounds a new one with this confidence.

    >>> subjects_needed(0.95), subjects_needed(0.9), subjects_needed(0.5)
    (19, 9, 1)
    """
    # 1 / (1 - 0.95) is 20 minus or plus a rounding error, which must not cost or give a subject
    return math.ceil(round(1 / (1 - confidence), 9)) - 1


def require_confidence(confidence: float | None, subjects: int, where: str) -> None:
    """Refuse a confidence that so few subjects cannot give, before anything is computed.

    Raises:
        BudgetError: names how many subjects are missing.
    """
    if confidence is None:
        return
    missing = subjects_needed(confidence) - subjects
    if missing > 0:
        raise BudgetError(
            f"--confidence {confidence:g} needs {subjects_needed(confidence)} test subjects, {where} has {subjects}: "
            f"{missing} more needed; no package was written"
        )


def worst_by_subject(drops: Sequence[tuple[int, float]]) -> dict[int, float]:
    """The worst drop of each subject over its cases and labels: (subject, drop) pairs -> subject: drop."""
    worst: dict[int, float] = {}
    for subject, drop in drops:
        worst[subject] = max(drop, worst.get(subject, -math.inf))
    return worst


def next_patient(worst: Mapping[int, float], what: str) -> str:
    """One plain sentence; `what` names the figure ("drop" or "disagreement with FP32")."""
    count = len(worst)
    return (
        f"For a new subject from the same population as these {count} test subject(s), the probability that its worst "
        f"{what} exceeds the worst seen ({max(worst.values()):.5f}) is at most 1/{count + 1} = {exceedance(count):.0%} "
        "(on average over subjects and test sets, not for one given patient)."
    )


def mean_interval(drops: Sequence[tuple[int, float]]) -> tuple[float, float] | None:
    """95 % percentile bootstrap interval of the mean drop over all cases; None below 10 subjects.

    Subjects are drawn, not cases: two visits of one person are not two witnesses (Efron and Tibshirani 1993, 13.3). Of
    those that are drawn all cases are pooled, as in the mean that the budget binds: who came more often weighs more.
    """
    by_subject: defaultdict[int, list[float]] = defaultdict(list)
    for subject, drop in drops:
        by_subject[subject].append(drop)
    if len(by_subject) < BOOTSTRAP_SUBJECTS:
        return None
    sums = np.array([sum(values) for values in by_subject.values()])
    counts = np.array([len(values) for values in by_subject.values()])
    draws = np.random.Generator(np.random.PCG64(SEED)).integers(0, len(sums), (BOOTSTRAP_SAMPLES, len(sums)))
    low, high = np.percentile(sums[draws].sum(axis=1) / counts[draws].sum(axis=1), [2.5, 97.5])
    return float(low), float(high)
