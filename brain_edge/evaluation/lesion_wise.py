"""Lesion-wise Dice and HD95 as the BraTS challenges have used them since 2023: every lesion of a region counts once.

After the challenge's own program (rachitsaluja/BraTS-2023-Metrics, `metrics.py`):

- Lesions of the reference are its components (26 neighbours) after a dilation by three steps (18 neighbours), which
  joins what a reader would call one lesion; a lesion is what lies of the reference in such a component.
- Components of the prediction (26 neighbours) that a lesion, dilated once more by itself, touches belong to it, and
  lesion and components are compared as two masks.
- A lesion that nothing touches counts Dice 0 and HD95 374 mm, about the diagonal of a head; and so does a component
  that touches no lesion. Lesions of at most 50 mm^3 are left out, with what touches them.
- The figures of a case are the means over lesions and false components. Where there is neither, Dice is 1, HD95 0 mm.

HD95 is that of `brain_edge.evaluation.scores`, between voxel centres; the challenge's program weighs its surface
elements, which differs by fractions of a voxel.
"""

from __future__ import annotations

from statistics import fmean
from typing import TYPE_CHECKING, Final

import numpy as np

from brain_edge.errors import GeometryError
from brain_edge.evaluation.scores import hd95_mm
from brain_edge.image.components import components
from brain_edge.image.metrics import dice
from brain_edge.spec.base import Value

if TYPE_CHECKING:
    from collections.abc import Sequence

    from brain_edge.image.geometry import Geometry
    from brain_edge.image.metrics import BoolArray, IntegerArray

PENALTY_MM: Final = 374.0
"""HD95 of a lesion that was missed, or that is none."""
LEAST_MM3: Final = 50.0
"""Volume that a lesion of the reference must exceed to count."""
DILATIONS: Final = 3


class LesionWise(Value, frozen=True):
    """One region of one case.

    Attributes:
        dice: mean over lesions and false components, 0 to 1.
        hd95_mm: the same.
        lesions: of the reference, those that count.
        missed: how many of them nothing touches.
        false: components of the prediction that touch no lesion.
    """

    dice: float
    hd95_mm: float
    lesions: int
    missed: int
    false: int


class RegionSummary(Value, frozen=True, kw_only=True):
    """One region over the cases of a cohort.

    Attributes:
        region: its name.
        labels: whose union it is.
        cases: how many were judged.
        mean_dice, mean_hd95_mm: of the figures of the cases.
        lesions, missed, false: over all cases.
    """

    region: str
    labels: tuple[int, ...]
    cases: int
    mean_dice: float
    mean_hd95_mm: float
    lesions: int
    missed: int
    false: int


def summarize_region(region: str, labels: tuple[int, ...], cases: Sequence[LesionWise]) -> RegionSummary:
    """The figures of a region over cases, of which there is one at least."""
    return RegionSummary(
        region=region,
        labels=labels,
        cases=len(cases),
        mean_dice=fmean(case.dice for case in cases),
        mean_hd95_mm=fmean(case.hd95_mm for case in cases),
        lesions=sum(case.lesions for case in cases),
        missed=sum(case.missed for case in cases),
        false=sum(case.false for case in cases),
    )


def lesion_wise(prediction: BoolArray, reference: BoolArray, geometry: Geometry) -> LesionWise:
    """Compare two masks (I, J, K) of one region, lesion by lesion.

    Raises:
        GeometryError: a mask does not have the shape of the grid.
    """
    for name, mask in (("prediction", prediction), ("reference", reference)):
        if mask.shape != geometry.shape:
            raise GeometryError(f"the {name} has the shape {mask.shape}, its grid {geometry.shape}")
    found, count = components(prediction.astype(np.uint8))
    touched: set[int] = set()
    scores: list[tuple[float, float]] = []
    missed = 0
    for lesion in _lesions(reference):
        near = {int(number) for number in np.unique(found[_dilated(lesion)])} - {0}
        touched |= near
        if np.count_nonzero(lesion) * geometry.voxel_volume_ml * 1000.0 <= LEAST_MM3:
            continue
        missed += not near
        scores.append(_score(np.isin(found, list(near)), lesion, geometry))
    false = int(count) - len(touched)
    scores += [(0.0, PENALTY_MM)] * false
    if not scores:
        return LesionWise(1.0, 0.0, 0, 0, 0)
    mean_dice, mean_mm = (float(mean) for mean in np.mean(scores, axis=0))
    return LesionWise(mean_dice, mean_mm, len(scores) - false, missed, false)


def _lesions(reference: BoolArray) -> list[BoolArray]:
    joined, count = components(_dilated(reference).astype(np.uint8))
    numbers: IntegerArray = np.where(reference, joined, 0)
    return [numbers == number for number in range(1, int(count) + 1)]


def _dilated(mask: BoolArray) -> BoolArray:
    from scipy.ndimage import binary_dilation, generate_binary_structure

    return np.asarray(binary_dilation(mask, generate_binary_structure(3, 2), iterations=DILATIONS))


def _score(prediction: BoolArray, lesion: BoolArray, geometry: Geometry) -> tuple[float, float]:
    distance = hd95_mm(prediction, lesion, geometry.spacing_mm)
    return dice(prediction, lesion) or 0.0, PENALTY_MM if distance is None else distance
