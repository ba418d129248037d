"""Find the cases of a batch to look at first: masks that differ from the other masks, or whose members disagree.

A plausible range (`brain_edge.spec.plausibility`) holds for every head. An outlier differs from the other heads of
its batch: a brain of 900 ml is possible, but suspicious among two hundred brains of about 1400 ml. An outlier never
fails a case; outliers set the order in which a reader looks at the cases.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum
from statistics import median
from typing import TYPE_CHECKING, Final

import numpy as np

from brain_edge.image.components import components
from brain_edge.spec.plausibility import border_share

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from brain_edge.image.volume import LabelArray, Mask

LEAST_CASES: Final = 5
"""Minimum number of cases with a label for a comparison.

The deviation of four or fewer values from their own median says little. Of three values, the middle one has no
deviation and the median deviation is that of its nearer neighbour, so any third value can become an outlier.
"""
FAR: Final = 3.5
"""Robust z above which a case is far from the others: the cut-off of Iglewicz and Hoaglin, How to Detect and Handle
Outliers (1993), for the modified z-score 0.6745 (x - median) / MAD."""
SIGMAS_PER_MAD: Final = 1.4826
"""Standard deviations of a normal distribution in one median absolute deviation: 1 / 0.6745."""
LEAST_FACTOR: Final = 1.2
"""Factor of the median within which no volume is far; volumes are compared by their logarithm. Without this floor,
visits of one person, which differ by less than a percent, would be reported for a millilitre."""
LEAST_VOLUME_SPREAD: Final = math.log(LEAST_FACTOR) / FAR
LEAST_COUNT_SPREAD: Final = math.log(2.0) / FAR
"""The same floor for 1 + components: up to twice the median is never far. Most counts of a batch are equal, so
their MAD is 0."""
LEAST_BORDER_SHARE: Final = 0.005
"""Fraction of a label in the outermost layer of the image above which the label touches the border. Published brain
masks of clinical heads with thick slices (a test measures them) have up to 0.15 % where at most the brain stem leaves
the field of view, and 0.8 to 1.6 % where slices above or below the brain are missing."""
LEAST_AGREEMENT: Final = 0.95
"""Dice of a member's mask with the ensemble's mask below which they disagree. On an ordinary head, one pass of HD-BET
v1 has Dice 0.9968 with all forty passes, and different programs have about 0.95."""


class OutlierKind(StrEnum):
    """Reason why a case stands out."""

    VOLUME = "volume far from the others"
    """A label is much smaller or larger than in the other cases, although it may be plausible."""
    COMPONENTS = "many components"
    """A label has more pieces than in the other cases."""
    BORDER = "touches the border"
    """More of a label lies at the border of the image than a brain stem explains: the label may be cut off."""
    AGREEMENT = "members disagree"
    """The mask of one member differs from the mask of the ensemble: the networks are uncertain about this image."""


@dataclass(frozen=True)
class Outlier:
    """One way in which a case stands out, in words and as numbers."""

    kind: OutlierKind
    message: str
    value: float
    limit: float
    label: str


@dataclass(frozen=True)
class LabelMeasure:
    """Measures of one label of one case for the comparison.

    Attributes:
        volume_ml: volume of the label.
        components: number of pieces (voxels that share a corner are connected); None if not counted.
        border_share: fraction of the label's voxels in the outermost layer of the image; None if not known.
        agreement: minimum Dice of a member's label with the ensemble's label; None if the network runs once.
    """

    volume_ml: float
    components: int | None = None
    border_share: float | None = None
    agreement: float | None = None


def measure(mask: Mask, names: Mapping[int, str]) -> dict[str, LabelMeasure]:
    """Measure a mask for `find_outliers`, by the name of the label.

    Args:
        mask: mask of one case.
        names: label value to name, without background.
    """
    pieces = _components(mask.labels)
    return {
        name: LabelMeasure(mask.volume_ml(value), pieces.get(value, 0), border_share(mask.labels == value))
        for value, name in names.items()
    }


def find_outliers(cases: Sequence[Mapping[str, LabelMeasure]]) -> list[tuple[Outlier, ...]]:
    """Return the outliers of each case of a batch.

    Args:
        cases: measures of each case by the name of the label; a failed case has no measures.

    Returns:
        One tuple per case, empty for a case that is like the others.
    """
    labels = dict.fromkeys(name for case in cases for name in case)
    found: list[list[Outlier]] = [[] for _ in cases]
    for label in labels:
        holders = [k for k, case in enumerate(cases) if label in case]
        for k, outliers in zip(holders, _of_label(label, [cases[k][label] for k in holders]), strict=True):
            found[k] += outliers
    return [tuple(outliers) for outliers in found]


def robust_z(values: Sequence[float], least_spread: float = 0.0) -> list[float]:
    """Return the distance of each value from the median, in robust standard deviations (scaled MAD).

    Args:
        values: one value or more.
        least_spread: minimum spread, used where the values are closer together; with 0 and no spread, values that
            differ from the median are infinitely far.
    """
    middle = median(values)
    spread = max(SIGMAS_PER_MAD * median(abs(value - middle) for value in values), least_spread)
    differences = [value - middle for value in values]
    if spread:
        return [difference / spread for difference in differences]
    return [math.copysign(math.inf, difference) if difference else 0.0 for difference in differences]


def _of_label(label: str, measures: Sequence[LabelMeasure]) -> Iterator[list[Outlier]]:
    """Yield the outliers of each case for one label.

    An absent label is not compared: plausible ranges decide about it (a lesion may well be absent). Volumes are
    compared by their logarithm, so half the median is as far as twice the median.
    """
    volumes = _Compared([measure.volume_ml or None for measure in measures], math.log, LEAST_VOLUME_SPREAD)
    counts = _Compared([measure.components for measure in measures], math.log1p, LEAST_COUNT_SPREAD)
    for measure, far, many in zip(measures, volumes.scores, counts.scores, strict=True):
        found = []
        if abs(far) > FAR:
            words = f"{label} of {measure.volume_ml:.1f} ml, {volumes.usual('.1f')} ml (robust z {far:+.1f})"
            found.append(Outlier(OutlierKind.VOLUME, words, far, FAR, label))
        if many > FAR * (1 + 1e-9):
            words = f"{label} in {measure.components} pieces, {counts.usual('g')}"
            found.append(Outlier(OutlierKind.COMPONENTS, words, many, FAR, label))
        if (share := measure.border_share) is not None and share > LEAST_BORDER_SHARE:
            words = f"{share:.1%} of {label} lies on the border of the image, usually at most {LEAST_BORDER_SHARE:.1%}"
            found.append(Outlier(OutlierKind.BORDER, words, share, LEAST_BORDER_SHARE, label))
        if (dice := measure.agreement) is not None and dice < LEAST_AGREEMENT:
            words = f"{label} of one member has Dice {dice:.3f} with the ensemble, usually at least {LEAST_AGREEMENT}"
            found.append(Outlier(OutlierKind.AGREEMENT, words, dice, LEAST_AGREEMENT, label))
        yield found


class _Compared:
    """Robust z of each value; 0 for an unknown value, and for all values of a small batch."""

    def __init__(
        self, values: Sequence[float | None], transform: Callable[[float], float], least_spread: float
    ) -> None:
        self._known = [value for value in values if value is not None]
        is_small = len(self._known) < LEAST_CASES
        scores = iter(() if is_small else robust_z([transform(value) for value in self._known], least_spread))
        self.scores = [0.0 if value is None or is_small else next(scores) for value in values]

    def usual(self, digits: str) -> str:
        """Return the median in words."""
        return f"median of {len(self._known)} cases {median(self._known):{digits}}"


def _components(labels: LabelArray) -> dict[int, int]:
    """Return the number of pieces of each label, in one pass for all labels."""
    pieces, count = components(labels)
    label_of = np.zeros(count + 1, dtype=np.uint8)
    label_of[pieces] = labels  # each piece has one label, so the order of writing does not matter
    found, counts = np.unique(label_of[1:], return_counts=True)
    return dict(zip(found.tolist(), counts.tolist(), strict=True))
