"""Agreement of a found mask with an expected one: Dice by label, exchanged labels, and the place of the differences."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

    from brain_edge.image.volume import LabelArray, Mask

BoolArray: TypeAlias = np.ndarray[tuple[int, ...], np.dtype[np.bool_]]
Counts: TypeAlias = np.ndarray[Any, np.dtype[np.intp]]
Table: TypeAlias = np.ndarray[Any, np.dtype[np.float64]]

VALUES: Final = 256
"""Number of values of a label."""
MOST_VOLUMES: Final = 3
"""Largest number of labels whose volumes are stated."""
THIN: Final = 0.9
"""Share of differing voxels at the border above which only the border differs."""


@dataclass(frozen=True, eq=False)
class Agreement:
    """Agreement of a label map with an expected one.

    Attributes:
        dice: Dice by label, for each label in either map.
        partners: expected label that each found label overlaps best, one to one; without pairs that are in neither map.
        least_as_partners: lowest Dice if each found label had the value of its partner.
    """

    dice: Mapping[int, float]
    partners: Mapping[int, int]
    least_as_partners: float

    @property
    def least(self) -> float:
        """Lowest Dice of a label; 1 if both maps hold only background."""
        return min(self.dice.values(), default=1.0)

    @property
    def exchanged(self) -> Mapping[int, int]:
        """Found labels with another value as their partner; empty if the labels have the expected values."""
        if self.least_as_partners <= self.least:
            return {}
        return {found: expected for found, expected in self.partners.items() if found != expected}


def agree(found: LabelArray, expected: LabelArray) -> Agreement:
    """Compare two label maps (I, J, K) on one grid."""
    counts = _counts(found, expected)
    mine, theirs = counts.sum(axis=1), counts.sum(axis=0)
    table: Table = 2 * counts / np.maximum(mine[:, np.newaxis] + theirs, 1)
    labels = [label for label in range(1, VALUES) if mine[label] or theirs[label]]
    dice = {label: float(table[label, label]) for label in labels}
    pairs = _partners(table, labels)
    partners = {one: other for one, other in pairs if mine[one] or theirs[other]}
    return Agreement(dice, partners, min((float(table[pair]) for pair in partners.items()), default=1.0))


def _counts(found: LabelArray, expected: LabelArray) -> Counts:
    """Return the number of voxels (256, 256) with each pair of labels."""
    pairs = np.bincount((found.astype(np.intp) * VALUES + expected).ravel(), minlength=VALUES * VALUES)
    return pairs.reshape(VALUES, VALUES)


def _partners(table: Table, labels: list[int]) -> list[tuple[int, int]]:
    """Return the pairs of labels, one to one, with the largest sum in a table (256, 256)."""
    from scipy.optimize import linear_sum_assignment

    rows, columns = linear_sum_assignment(table[np.ix_(labels, labels)], maximize=True)
    return [(labels[row], labels[column]) for row, column in zip(rows, columns, strict=True)]


def differences(found: LabelArray, expected: Mask, names: Mapping[int, str]) -> tuple[str, ...]:
    """State where a label map differs from the expected one: volumes, border and slices; empty if equal.

    Args:
        found: label map (I, J, K) on the grid of the expected mask.
        expected: expected mask.
        names: name of each label by value.
    """
    differing = found != expected.labels
    if not differing.any():
        return ()
    return (*_volumes(found, expected, names), _border(differing, expected.labels), _slices(differing, expected))


def _volumes(found: LabelArray, expected: Mask, names: Mapping[int, str]) -> list[str]:
    """State the volumes of the labels that differ most in volume."""
    voxel_ml = expected.geometry.voxel_volume_ml
    sizes = {
        name: (np.count_nonzero(found == label) * voxel_ml, expected.volume_ml(label)) for label, name in names.items()
    }
    most = sorted(sizes.items(), key=lambda pair: -abs(pair[1][0] - pair[1][1]))[:MOST_VOLUMES]
    return [f"{name}: {mine:.1f} ml, expected {theirs:.1f} ml" for name, (mine, theirs) in most if mine != theirs]


def _border(differing: BoolArray, expected: LabelArray) -> str:
    """State the share of the differing voxels that touch the border of an expected label."""
    edge = np.zeros(expected.shape, dtype=bool)
    for axis in range(3):
        ahead, behind = np.moveaxis(edge, axis, 0)[1:], np.moveaxis(edge, axis, 0)[:-1]
        labels = np.moveaxis(expected, axis, 0)
        change = labels[1:] != labels[:-1]
        ahead |= change
        behind |= change
    count = int(np.count_nonzero(differing))
    share = np.count_nonzero(differing & edge) / count
    words = f"{share:.0%} of {count} differing voxels touch the border of an expected label"
    return f"{words}, as after another interpolation" if share >= THIN else words


def _slices(differing: BoolArray, expected: Mask) -> str:
    """State the fewest slices, along one axis, that hold half of the differing voxels."""
    found = []
    for axis, letter in enumerate(expected.geometry.orientation):
        counts = differing.sum(axis=tuple(other for other in range(3) if other != axis))
        order = np.argsort(-counts, kind="stable")
        number = int(np.searchsorted(np.cumsum(counts[order]), counts.sum() / 2)) + 1
        held = order[:number]
        place = f"slices {held.min()} to {held.max()}" if number > 1 else f"slice {held[0]}"
        found.append(
            (number / counts.size, f"Half of them lie in {number} of {counts.size} slices along {letter}, {place}")
        )
    return min(found)[1]
