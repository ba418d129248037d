"""Reference masks: label maps by people or other programs, in any voxel type.

They are not read with `read_volume`, because an empty lesion mask is a valid reference, but an image of one value is
not a valid image.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, TypeAlias

import numpy as np

from brain_edge.errors import InputError
from brain_edge.image.geometry import axis_moves
from brain_edge.image.volume import Mask
from brain_edge.io.nifti import read_numbers
from brain_edge.spec.steps.moves import reorder

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from brain_edge.image.geometry import AxisMoves, Geometry
    from brain_edge.image.volume import LabelArray

WHOLE_WITHIN: Final = 1e-3
"""Largest distance from a whole number that the float32 slope of a scaled mask explains (1/255 gives 1.00000006)."""

Array: TypeAlias = np.ndarray[tuple[int, ...], np.dtype[Any]]


def read_reference(path: Path, labels: Mapping[int, int]) -> Mask:
    """Read a label map (I, J, K) and map its values to the labels of the model.

    Args:
        path: path of a NIfTI or MGH file with whole numbers in any voxel type.
        labels: label for each value in the file; other values are refused. Empty to keep the values.

    Raises:
        InputError: the file is not an image, or has several volumes, fractions (probabilities) or a value without a
            label.
        GeometryError: the grid is missing, contradictory or singular.
    """
    values, geometry = read_numbers(path)
    return Mask(_relabelled(values, labels, path), geometry)


def moves_onto(geometry: Geometry, target: Geometry) -> AxisMoves | None:
    """Return the axis moves that turn one grid into another, voxel by voxel; None if there are none."""
    moves = axis_moves(geometry.orientation, target.orientation)
    return moves if geometry.reoriented(moves).same_grid(target) else None


def onto_grid(mask: Mask, target: Geometry) -> Mask | None:
    """Return a mask in the axis order of a grid of the same voxels; None if the grids differ.

    fMRIPrep and other programs write the mask of a reoriented image.
    """
    moves = moves_onto(mask.geometry, target)
    return None if moves is None else Mask(np.asfortranarray(reorder(mask.labels[np.newaxis], moves)[0]), target)


def _relabelled(values: Array, labels: Mapping[int, int], path: Path) -> LabelArray:
    present = np.unique(values)
    if not np.isfinite(present).all() or (np.abs(present - np.round(present)) > WHOLE_WITHIN).any():
        raise InputError(
            f"{path}: expected a reference mask of whole numbers, got fractions or NaN between "
            f"{present.min():g} and {present.max():g}; threshold the mask first"
        )
    table = labels or {value: value for value in range(1, 256)}
    values, present = np.round(values), np.unique(np.round(present))
    strange = [int(value) for value in present if value != 0 and int(value) not in table]
    if strange:
        raise InputError(
            f"{path}: expected the values {', '.join(map(str, (0, *sorted(labels)))) if labels else '0 to 255'} "
            f"in the reference mask, got {strange[0]}; add the value to the cohort's `labels`"
        )
    relabelled = np.zeros(values.shape, dtype=np.uint8)
    for value in (int(value) for value in present if value != 0):
        relabelled[values == value] = table[value]
    return relabelled
