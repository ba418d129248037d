"""Agreement of two label maps: Dice, HD95 and volumes per label and case, and their summary over cases.

All functions are pure: arrays and numbers in, numbers out. Undefined values (the Dice of two empty masks, the distance
to an empty mask) are None, so that no mean includes them; the summary counts them.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import numpy as np

from brain_edge.errors import GeometryError, InputError
from brain_edge.image.metrics import dice, require_comparable

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from brain_edge.image.geometry import Geometry, Vector
    from brain_edge.image.metrics import BoolArray, IntegerArray

FloatArray: TypeAlias = np.ndarray[Any, np.dtype[np.float64]]

HD95_PERCENTILE: Final = 95.0
"""Percentile with linear interpolation between the two closest ranks, as in `numpy.percentile` and MONAI."""

SPARSE_SURFACE_SHARE: Final = 0.05
"""Share of surface voxels in a box up to which a k-d tree is faster than a distance transform (measured)."""


class Presence(StrEnum):
    """Sides of a comparison on which a label occurs."""

    BOTH = "both"
    """Every metric is defined."""
    PREDICTION_ONLY = "prediction_only"
    """Dice 0, HD95 undefined; the whole predicted volume is false-positive."""
    REFERENCE_ONLY = "reference_only"
    """Dice 0, HD95 undefined; the whole label was missed."""
    NEITHER = "neither"
    """Nothing to judge: the case is left out of the label's means, and counted."""


_PRESENCE: Final = {
    (True, True): Presence.BOTH,
    (True, False): Presence.PREDICTION_ONLY,
    (False, True): Presence.REFERENCE_ONLY,
    (False, False): Presence.NEITHER,
}


@dataclass(frozen=True)
class LabelScore:
    """One label of one case.

    Attributes:
        label: value of the label in both masks.
        presence: sides on which the label occurs, which determine the defined metrics.
        dice: Dice, 0 to 1; None if the label is on neither side.
        hd95_mm: 95 % Hausdorff distance in mm (see `hd95_mm`); None unless the label is on both sides.
        volume_ml: volume in the prediction in ml, all of it false-positive if the reference lacks the label.
        reference_volume_ml: volume in the reference in ml.
        volume_difference_ml: volume of the prediction minus that of the reference in ml.
    """

    label: int
    presence: Presence
    dice: float | None
    hd95_mm: float | None
    volume_ml: float
    reference_volume_ml: float
    volume_difference_ml: float


@dataclass(frozen=True)
class ScoreSummary:
    """One label over the cases of a cohort; a mean over no case is None.

    Attributes:
        label: value of the label in the masks.
        cases: number of scored cases: the label is in the prediction, the reference or both.
        absent: number of cases left out because the label is on neither side.
        mean_dice: mean Dice over the scored cases; a label on only one side counts as 0.
        worst_dice: lowest Dice of the scored cases.
        hd95_mean_mm: mean HD95 in mm over the scored cases in which it is defined.
        hd95_worst_mm: largest HD95 of these cases in mm.
        hd95_undefined: number of scored cases without HD95, because one side is empty.
        mean_volume_difference_ml: mean of prediction minus reference in ml over the scored cases.
    """

    label: int
    cases: int
    absent: int
    mean_dice: float | None
    worst_dice: float | None
    hd95_mean_mm: float | None
    hd95_worst_mm: float | None
    hd95_undefined: int
    mean_volume_difference_ml: float | None


def hd95_mm(a: BoolArray, b: BoolArray, spacing_mm: Vector) -> float | None:
    """Return the 95 % Hausdorff distance of two masks (I, J, K) in mm; None if one of them is empty.

    It is the larger of two directed 95th percentiles, as MONAI defines it. The distance is that from a surface voxel of
    one mask to the closest surface voxel of the other, between centres on orthogonal axes. A surface voxel has at least
    one of its six neighbours outside the mask, or outside the volume.

    Raises:
        GeometryError: the shapes of the masks differ.
    """
    from scipy.ndimage import find_objects

    require_comparable(a, b)
    if not (a.any() and b.any()):
        return None
    # the box needs no margin, because erosion treats everything outside an array as background
    (box,) = find_objects((a | b).view(np.uint8))
    surfaces = _surface(a[box]), _surface(b[box])
    directed = (_surface_distances_mm(*pair, spacing_mm) for pair in (surfaces, surfaces[::-1]))
    return max(float(np.percentile(distances, HD95_PERCENTILE)) for distances in directed)


def volume_difference_ml(a: BoolArray, b: BoolArray, voxel_volume_ml: float) -> float:
    """Return the volume of `b` minus the volume of `a` in ml, positive if `b` is larger."""
    return (int(np.count_nonzero(b)) - int(np.count_nonzero(a))) * voxel_volume_ml


def score_labels(
    prediction: IntegerArray, reference: IntegerArray, geometry: Geometry, labels: Sequence[int]
) -> tuple[LabelScore, ...]:
    """Compare two label maps (I, J, K) on one grid, label by label, in the order of `labels`.

    Args:
        prediction: label map to judge; 0 is background.
        reference: label map against which the prediction is judged.
        geometry: grid of both; its spacing and voxel volume give mm and ml.
        labels: declared foreground values.

    Raises:
        GeometryError: the shape of a label map differs from that of the grid.
        InputError: a label map contains a value that is neither background nor declared.
    """
    for name, mask in (("prediction", prediction), ("reference", reference)):
        if mask.shape != geometry.shape:
            raise GeometryError(f"expected a {name} with the shape of the grid, {geometry.shape}, got {mask.shape}")
        _check_declared(name, mask, labels)
    return tuple(_score(label, prediction == label, reference == label, geometry) for label in labels)


def summarize(cases: Iterable[Sequence[LabelScore]]) -> tuple[ScoreSummary, ...]:
    """Summarise the scores of each case (as `score_labels` returns them) into one summary per label.

    Raises:
        ValueError: the cases were not scored for the same labels, so a mean would hide the missing labels.
    """
    scored = [tuple(case) for case in cases]
    labels = {tuple(score.label for score in case) for case in scored}
    if len(labels) > 1:
        raise ValueError(f"expected the same labels in every case, got {sorted(labels)}")
    return tuple(_summary(scores) for scores in zip(*scored, strict=True))


def _score(label: int, prediction: BoolArray, reference: BoolArray, geometry: Geometry) -> LabelScore:
    predicted, expected = int(np.count_nonzero(prediction)), int(np.count_nonzero(reference))
    return LabelScore(
        label=label,
        presence=_PRESENCE[predicted > 0, expected > 0],
        dice=dice(prediction, reference),
        hd95_mm=hd95_mm(prediction, reference, geometry.spacing_mm),
        volume_ml=predicted * geometry.voxel_volume_ml,
        reference_volume_ml=expected * geometry.voxel_volume_ml,
        volume_difference_ml=volume_difference_ml(reference, prediction, geometry.voxel_volume_ml),
    )


def _summary(scores: Sequence[LabelScore]) -> ScoreSummary:
    present = [score for score in scores if score.presence is not Presence.NEITHER]
    dices = [score.dice for score in present if score.dice is not None]
    distances = [score.hd95_mm for score in present if score.hd95_mm is not None]
    return ScoreSummary(
        label=scores[0].label,
        cases=len(present),
        absent=len(scores) - len(present),
        mean_dice=_mean(dices),
        worst_dice=min(dices, default=None),
        hd95_mean_mm=_mean(distances),
        hd95_worst_mm=max(distances, default=None),
        hd95_undefined=len(present) - len(distances),
        mean_volume_difference_ml=_mean([score.volume_difference_ml for score in present]),
    )


def _mean(values: Sequence[float]) -> float | None:
    return float(np.mean(values)) if values else None


def _check_declared(name: str, mask: IntegerArray, labels: Sequence[int]) -> None:
    undeclared = sorted(set(np.unique(mask).tolist()) - {0, *labels})
    if undeclared:
        raise InputError(
            f"expected the declared labels {list(labels)} and 0 for background in the {name}, got also {undeclared}; "
            "relabel the map, or declare these values"
        )


def _surface(mask: BoolArray) -> BoolArray:
    from scipy.ndimage import binary_erosion

    return mask & ~binary_erosion(mask)


def _surface_distances_mm(surface: BoolArray, other: BoolArray, spacing_mm: Vector) -> FloatArray:
    """Return the distance (voxels of `surface`,) in mm from each voxel of `surface` to the closest voxel of `other`.

    There are two exact methods, because neither suits all masks. A k-d tree takes 0.1 s for two brains in 256^3, but
    over a minute for noise. A distance transform takes at most 7 s, but 4 s if a stray voxel extends the box to the
    volume.
    """
    from scipy.ndimage import distance_transform_edt
    from scipy.spatial import KDTree

    points, spacing = np.argwhere(surface), np.array(spacing_mm)
    if len(points) + np.count_nonzero(other) < SPARSE_SURFACE_SHARE * surface.size:
        tree = KDTree(np.argwhere(other) * spacing, compact_nodes=False, balanced_tree=False)
        return np.asarray(tree.query(points * spacing)[0])
    # indices need only a quarter of the memory of scipy's dense distances
    closest = distance_transform_edt(~other, sampling=spacing, return_distances=False, return_indices=True)
    return np.asarray(np.linalg.norm((closest[:, surface].T - points) * spacing, axis=1))
