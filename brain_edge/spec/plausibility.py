"""Plausibility checks of the input (was the model made for it?) and of the mask (can a head have it?)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from itertools import chain, combinations
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import numpy as np

from brain_edge.image.components import components
from brain_edge.image.contrast import takes
from brain_edge.image.geometry import share_inside

if TYPE_CHECKING:
    from collections.abc import Iterator

    from brain_edge.image.contrast import Finding
    from brain_edge.image.geometry import Geometry
    from brain_edge.image.volume import FloatArray, LabelArray, Mask, Study, Volume
    from brain_edge.spec.model import ModelSpec, Plausible, PlausibleLabel, Sequence


class FlagKind(StrEnum):
    """Quantity that is out of its range."""

    CONTRAST = "contrast"
    """The image has a contrast that the model was not made for."""
    SPACING = "spacing"
    """The voxels are finer or coarser than the model was made for."""
    VALUES = "values"
    """An image has the numbers of a label map, a mask or a CT, or two sequences are the same image."""
    STRIPPED = "stripped"
    """The head has no skull where the model expects one, or a skull where the model expects none."""
    COVERAGE = "coverage"
    """The field of view is too small or too large for a head, or a sequence does not cover the head."""
    REGISTRATION = "registration"
    """Two sequences, or a sequence and the atlas, may not lie over each other."""
    EMPTY = "empty"
    """The mask is empty although every head has the structure."""
    VOLUME = "volume"
    """A label is smaller or larger than in people."""
    COMPONENTS = "components"
    """A label has too many pieces."""
    BORDER = "border"
    """A label touches the border of the image: it may be cut off, or include what is not head."""


@dataclass(frozen=True)
class Flag:
    """One implausible finding, in words and as numbers for JSON."""

    kind: FlagKind
    message: str
    value: float
    low: float
    high: float
    label: int | None = None


ROUNDING: Final = 1e-3
"""Relative tolerance of spacing and extent, so that a float32 header of 0.2999 mm counts as 0.3 mm."""


LATTICE: Final = 32
"""Number of voxels along each side of an image at which its head is searched for."""
LEAST_COVER: Final = 0.95
"""Smallest share of the head that each sequence must cover: beyond it the network sees 0. Some neck may be missing."""
MOST_LABELS: Final = 512
"""Largest number of different values in a label map: the largest atlases have some two hundred."""
MOST_ALIKE: Final = 0.6
"""Share of equal neighbours outside of the background above which an image counts as a label map. Heads have up to 0.18
(0.57 after doubling the grid by nearest neighbour), label maps 0.92."""
FEWEST_VALUES: Final = 16
"""Number of different values below which an image counts as a label map. An 8-bit head has more than a hundred."""
AIR_HU: Final = (-1100.0, -900.0)
"""Range of air in a CT, in Hounsfield units. The range of an MR image begins at 0, or at a few deviations below."""
LEAST_AIR: Final = 0.05
"""Share of voxels in the range of air above which an image counts as a CT."""
MOST_CORRELATED: Final = 0.9999
"""Correlation of two sequences of one visit above which they count as one image."""

IntArray: TypeAlias = "np.ndarray[Any, np.dtype[np.intp]]"


def check_contrast(sequence: Sequence, found: Finding) -> Flag | None:
    """Return the flag of an image whose contrast is known and not one that the model takes; otherwise None.

    There is no flag if the model states no contrast, or if the contrast of the image is unknown.
    """
    if not sequence.stated or found.contrast is None or takes(sequence.stated, found.contrast):
        return None
    words = f"expected {' or '.join(sequence.stated)} for the sequence {sequence.name}, got {found}"
    return Flag(FlagKind.CONTRAST, words, 0.0, 0.0, 0.0)


def check_input(study: Study, plausible: Plausible) -> tuple[Flag, ...]:
    """Return the flags of each sequence: on its grid, on its numbers, and on its cover of the reference's head."""
    flags = [*_check_grid(study.geometry, plausible, ""), *_check_values(study)]
    for name, volume in study.volumes.items():
        if not volume.geometry.same_grid(study.geometry):
            flags.extend(_check_grid(volume.geometry, plausible, f"{name}: "))
            flags.extend(_check_cover(name, volume.geometry, study))
    return tuple(flags)


def _check_grid(geometry: Geometry, plausible: Plausible, name: str) -> Iterator[Flag]:
    if plausible.inputs is None:
        return
    ranges = (
        (FlagKind.SPACING, "spacing", geometry.spacing_mm, plausible.inputs.spacing_mm),
        (FlagKind.COVERAGE, "field of view", geometry.extent_mm, plausible.inputs.extent_mm),
    )
    for kind, what, values, (low, high) in ranges:
        for value in sorted({min(values), max(values)}):
            if not low * (1 - ROUNDING) <= value <= high * (1 + ROUNDING):
                words = f"{name}{what} of {value:.4g} mm, expected {low:g} to {high:g} mm"
                yield Flag(kind, words, value, low, high)


def _check_cover(name: str, geometry: Geometry, study: Study) -> Iterator[Flag]:
    share = head_share(study.volumes[study.reference], geometry)
    if share < LEAST_COVER:
        words = (
            f"{name} covers {share:.0%} of the head in {study.reference}, expected at least {LEAST_COVER:.0%}: "
            "the network saw 0 beyond it"
        )
        yield Flag(FlagKind.COVERAGE, words, share, LEAST_COVER, 1.0)


def _check_values(study: Study) -> Iterator[Flag]:
    for name, volume in study.volumes.items():
        yield from _check_numbers(name, volume)
    for (name, volume), (other, copy) in combinations(study.volumes.items(), 2):
        if (alike := correlation(volume, copy)) > MOST_CORRELATED:
            words = f"{other} is the same image as {name}"
            yield Flag(FlagKind.VALUES, words, alike, -1.0, MOST_CORRELATED)


def _check_numbers(name: str, volume: Volume) -> Iterator[Flag]:
    seen = volume.voxels[np.ix_(*lattice(volume))]
    if (share := alike_share(volume)) > MOST_ALIKE:
        words = f"{name} looks like a label map or mask, not an image: {share:.0%} of neighbours are equal"
        yield Flag(FlagKind.VALUES, words, share, 0.0, MOST_ALIKE)
    elif (values := distinct(volume)[0].size) < FEWEST_VALUES:
        words = f"{name} looks like a label map or mask, not an image: it has {values} different values"
        yield Flag(FlagKind.VALUES, words, values, FEWEST_VALUES, float(seen.size))
    if (share := float(((seen > AIR_HU[0]) & (seen < AIR_HU[1])).mean())) > LEAST_AIR:
        words = f"{name} looks like a CT, not an MR image: {share:.0%} of voxels have the Hounsfield units of air"
        yield Flag(FlagKind.VALUES, words, share, 0.0, LEAST_AIR)


def alike_share(volume: Volume) -> float:
    """Return the share (0 to 1) of neighbours along K, in some slices, with equal values; 0 if there are many values.

    Neighbours with the most common value (background) do not count. Noise distinguishes intensities from labels. The
    number of values alone would not: an 8-bit image has no more values than an atlas.
    """
    numbers, counts = distinct(volume)
    if numbers.size > MOST_LABELS:
        return 0.0
    slices = volume.voxels[lattice(volume)[0]]
    first, second = slices[..., :-1], slices[..., 1:]
    counted = (first != numbers[counts.argmax()]) & (second != numbers[counts.argmax()])
    return float((first == second)[counted].mean()) if counted.any() else 1.0


def correlation(volume: Volume, other: Volume) -> float:
    """Return the correlation (-1 to 1) of two images at the same lattice points; 0 if their grids differ."""
    if not volume.geometry.same_grid(other.geometry):
        return 0.0
    first, second = (image.voxels[np.ix_(*lattice(image))].ravel() for image in (volume, other))
    with np.errstate(invalid="ignore"):  # one number on the whole lattice
        return float(np.nan_to_num(np.corrcoef(first, second)[0, 1]))


def distinct(volume: Volume) -> tuple[FloatArray, IntArray]:
    """Return the numbers on the lattice of an image, ascending, and how often each occurs.

    `numpy.unique` returns the same, and imports masked arrays, which no other part of a run needs.
    """
    ordered = np.sort(volume.voxels[np.ix_(*lattice(volume))], axis=None)
    starts = np.flatnonzero(np.concatenate(([True], ordered[1:] != ordered[:-1])))
    return ordered[starts], np.diff(np.append(starts, ordered.size))


def lattice(volume: Volume) -> list[IntArray]:
    """Return about `LATTICE` indices along each axis."""
    return [np.linspace(0, side - 1, num=min(side, LATTICE)).round().astype(int) for side in volume.voxels.shape]


def head_share(reference: Volume, other: Geometry) -> float:
    """Return the share (0 to 1) of an image's head (voxels above the mean, on a lattice) that lies in another grid."""
    axes = lattice(reference)
    seen = reference.voxels[np.ix_(*axes)]
    places = np.argwhere(seen > reference.voxels.mean(dtype=np.float64))
    if not places.size:
        return 1.0
    voxels = np.stack([axis[places[:, number]] for number, axis in enumerate(axes)], axis=-1)
    return share_inside(voxels, reference.geometry, other)


def check_mask(mask: Mask, spec: ModelSpec, given: Mask | None = None) -> tuple[Flag, ...]:
    """Return the flags of a label map: for an empty map, else for each label that has a plausible range.

    Args:
        mask: labels on the grid of the images that the network saw; pieces and borders are judged there, because thick
            slices tear a label apart.
        spec: model with the ranges.
        given: the same labels on the grid that the user gets, whose volumes are judged, as the user counts them; the
            mask itself without a grid of its own.
    """
    given = mask if given is None else given
    if not given.labels.any():
        if spec.may_be_empty:
            return ()
        return (Flag(FlagKind.EMPTY, f"the mask is empty; {spec.name} found nothing in this image", 0.0, 0.0, 0.0),)
    flags = ((*_check_volume(given, each, spec), *_check_label(mask, each, spec)) for each in spec.plausible.labels)
    return tuple(chain.from_iterable(flags))


def is_empty(flags: tuple[Flag, ...]) -> bool:
    """Return True if the flags say that the mask is empty but must not be."""
    return any(flag.kind is FlagKind.EMPTY for flag in flags)


def border_share(label: LabelArray) -> float:
    """Return the share of a boolean map's voxels (I, J, K) that lie in the outermost layer of the image."""
    total = int(np.count_nonzero(label))
    inner = int(np.count_nonzero(label[1:-1, 1:-1, 1:-1]))
    return (total - inner) / total if total else 0.0


def _check_volume(mask: Mask, limits: PlausibleLabel, spec: ModelSpec) -> Iterator[Flag]:
    low, high = limits.volume_ml
    volume_ml = mask.volume_ml(limits.label)
    if not low <= volume_ml <= high:
        words = f"{spec.label_names()[limits.label]} of {volume_ml:.1f} ml, expected {low:g} to {high:g} ml"
        yield Flag(FlagKind.VOLUME, words, volume_ml, low, high, limits.label)


def _check_label(mask: Mask, limits: PlausibleLabel, spec: ModelSpec) -> Iterator[Flag]:
    name = spec.label_names()[limits.label]
    present = mask.labels == limits.label
    if limits.max_border_share is not None and (share := border_share(present)) > limits.max_border_share:
        words = f"{share:.1%} of {name} lies on the border of the image, expected at most {limits.max_border_share:.1%}"
        yield Flag(FlagKind.BORDER, words, share, 0.0, limits.max_border_share, limits.label)
    if limits.max_components is not None and (pieces := components(present)[1]) > limits.max_components:
        words = f"{name} in {pieces} pieces, expected at most {limits.max_components}"
        yield Flag(FlagKind.COMPONENTS, words, pieces, 1, limits.max_components, limits.label)
