"""Which cases of a batch to look at first: those whose masks differ from the others', or from themselves.

A plausible range (`brain_edge.spec.plausibility`) says what no head can have. This says what no other head of the
batch has: a brain of 900 ml is possible, and suspicious among two hundred of about 1400 ml. Nothing here fails a
case; it sets an order in which to look.
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
"""From this many cases with a label on they are compared with each other.

The deviation of four or fewer values from their own median says little: of three, the middle one has none and the
median deviation is that of its nearer neighbour, so that any third value can be made an outlier.
"""
FAR: Final = 3.5
"""Robust z from which a case is far from the others: the cut-off of Iglewicz and Hoaglin, How to Detect and Handle
Outliers (1993), for the modified z-score 0.6745 (x - median) / MAD."""
SIGMAS_PER_MAD: Final = 1.4826
"""Standard deviations of a normal distribution in one median absolute deviation: 1 / 0.6745."""
LEAST_FACTOR: Final = 1.2
"""Volumes are compared by their logarithm, and within this factor of the median none is far. Without such a floor a
batch of visits of one person, which differ by less than a percent, would report a millilitre."""
LEAST_VOLUME_SPREAD: Final = math.log(LEAST_FACTOR) / FAR
LEAST_COUNT_SPREAD: Final = math.log(2.0) / FAR
"""The same for 1 + components: at most twice as many as usual are never many. Most counts of a batch are equal, so
that their MAD is 0."""
LEAST_BORDER_SHARE: Final = 0.005
"""Share of a label in the outermost layer of the image from which it touches the border. Published brain masks of
clinical heads with thick slices (a test measures them): up to 0.15 % where at most the brain stem leaves the field of
view, 0.8 to 1.6 % where slices above or below the brain are missing."""
LEAST_AGREEMENT: Final = 0.95
"""Dice of a member's mask with the ensemble's below which they disagree. On an ordinary head one pass of HD-BET v1
agrees with all forty at 0.9968, and different programs agree to about 0.95."""


class OutlierKind(StrEnum):
    """Why a case stands out."""

    VOLUME = "volume far from the others"
    """A label is much smaller or larger than in the other cases, though it may be plausible."""
    COMPONENTS = "many components"
    """A label falls into more pieces than in the other cases."""
    BORDER = "touches the border"
    """More of a label lies at the border of the image than a brain stem leaves there: it may be cut off."""
    AGREEMENT = "members disagree"
    """A member of the ensemble has another mask than all together: the networks are not sure of this image."""


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
    """What is compared of one label of one case.

    Attributes:
        volume_ml: of the label.
        components: pieces, voxels that share a corner counted as connected; None where it was not counted.
        border_share: share of the label's voxels in the outermost layer of the image; None where not known.
        agreement: least Dice of a member's label with the ensemble's; None where the network runs once.
    """

    volume_ml: float
    components: int | None = None
    border_share: float | None = None
    agreement: float | None = None


def measure(mask: Mask, names: Mapping[int, str]) -> dict[str, LabelMeasure]:
    """What `find_outliers` compares, by the name of the label.

    Args:
        mask: of one case.
        names: of the labels without background.
    """
    pieces = _components(mask.labels)
    return {
        name: LabelMeasure(mask.volume_ml(value), pieces.get(value, 0), border_share(mask.labels == value))
        for value, name in names.items()
    }


def find_outliers(cases: Sequence[Mapping[str, LabelMeasure]]) -> list[tuple[Outlier, ...]]:
    """For each case of a batch, what it stands out by.

    Args:
        cases: for each case its measures by the name of the label; a failed case has none.

    Returns:
        As many tuples as cases, empty for those that are like the others.
    """
    labels = dict.fromkeys(name for case in cases for name in case)
    found: list[list[Outlier]] = [[] for _ in cases]
    for label in labels:
        holders = [k for k, case in enumerate(cases) if label in case]
        for k, outliers in zip(holders, _of_label(label, [cases[k][label] for k in holders]), strict=True):
            found[k] += outliers
    return [tuple(outliers) for outliers in found]


def robust_z(values: Sequence[float], least_spread: float = 0.0) -> list[float]:
    """How far each value lies from the median, in robust standard deviations (scaled MAD).

    Args:
        values: at least one.
        least_spread: taken where the values are closer together than that; with 0 and no spread, values that
            differ from the median are infinitely far.
    """
    middle = median(values)
    spread = max(SIGMAS_PER_MAD * median(abs(value - middle) for value in values), least_spread)
    differences = [value - middle for value in values]
    if spread:
        return [difference / spread for difference in differences]
    return [math.copysign(math.inf, difference) if difference else 0.0 for difference in differences]


def _of_label(label: str, measures: Sequence[LabelMeasure]) -> Iterator[list[Outlier]]:
    """What each case stands out by, for one label.

    An absent label is the business of the plausible ranges (a lesion may well be absent), and is not compared. Volumes
    are compared by their logarithm, so that half as much is as far as twice as much.
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
            words = f"{share:.1%} of {label} lies on the border of the image, usual is at most {LEAST_BORDER_SHARE:.1%}"
            found.append(Outlier(OutlierKind.BORDER, words, share, LEAST_BORDER_SHARE, label))
        if (dice := measure.agreement) is not None and dice < LEAST_AGREEMENT:
            words = (
                f"{label} of one member agrees with the ensemble's at Dice {dice:.3f} only, usual is {LEAST_AGREEMENT}"
            )
            found.append(Outlier(OutlierKind.AGREEMENT, words, dice, LEAST_AGREEMENT, label))
        yield found


class _Compared:
    """The robust z of each value, 0 for those that are not known, and for all in a small batch."""

    def __init__(
        self, values: Sequence[float | None], transform: Callable[[float], float], least_spread: float
    ) -> None:
        self._known = [value for value in values if value is not None]
        is_small = len(self._known) < LEAST_CASES
        scores = iter(() if is_small else robust_z([transform(value) for value in self._known], least_spread))
        self.scores = [0.0 if value is None or is_small else next(scores) for value in values]

    def usual(self, digits: str) -> str:
        """The median in words."""
        return f"median of {len(self._known)} cases {median(self._known):{digits}}"


def _components(labels: LabelArray) -> dict[int, int]:
    """Number of pieces of each label; one pass, however many labels there are."""
    pieces, count = components(labels)
    label_of = np.zeros(count + 1, dtype=np.uint8)
    label_of[pieces] = labels  # each piece has one label, so that the order of writing does not matter
    found, counts = np.unique(label_of[1:], return_counts=True)
    return dict(zip(found.tolist(), counts.tolist(), strict=True))
