"""Lesion-wise Dice and HD95 as in the BraTS challenges since 2023: every lesion of a region counts once.

The rules are those of the challenge's own program (rachitsaluja/BraTS-2023-Metrics, `metrics.py`):

- Lesions of the reference are its components (26 neighbours) after a dilation by three steps (18 neighbours), which
  joins what a reader would call one lesion. A lesion is the part of the reference in such a component.
- Components of the prediction (26 neighbours) belong to a lesion if the lesion, dilated separately, touches them. The
  lesion and its components are compared as two masks.
- A lesion that no component touches counts as Dice 0 and HD95 374 mm, about the diagonal of a head. A component that
  touches no lesion counts the same. Lesions of at most 50 mm^3 are left out, with the components that touch them.
- The figures of a case are the means over lesions and false components. Without either, Dice is 1 and HD95 0 mm.

HD95 is that of `brain_edge.evaluation.scores`, between voxel centres. The challenge's program weights surface
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
"""HD95 in mm of a missed lesion, or of a false component."""
LEAST_MM3: Final = 50.0
"""Volume in mm^3 that a lesion of the reference must exceed to count."""
DILATIONS: Final = 3


class LesionWise(Value, frozen=True):
    """One region of one case.

    Attributes:
        dice: mean Dice over lesions and false components, 0 to 1.
        hd95_mm: mean HD95 over lesions and false components in mm.
        lesions: number of lesions of the reference that count.
        missed: number of these lesions that no component touches.
        false: number of components of the prediction that touch no lesion.
    """

    dice: float
    hd95_mm: float
    lesions: int
    missed: int
    false: int


class RegionSummary(Value, frozen=True, kw_only=True):
    """One region over the cases of a cohort.

    Attributes:
        region: name of the region.
        labels: labels whose union is the region.
        cases: number of judged cases.
        mean_dice, mean_hd95_mm: mean figures over the cases.
        lesions, missed, false: numbers over all cases.
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
    """Summarise the figures of a region over at least one case."""
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
        GeometryError: the shape of a mask differs from that of the grid.
    """
    for name, mask in (("prediction", prediction), ("reference", reference)):
        if mask.shape != geometry.shape:
            raise GeometryError(f"expected a {name} with the shape of the grid, {geometry.shape}, got {mask.shape}")
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
