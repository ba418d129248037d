"""Reference masks: label maps by people or other programs, in whatever voxel type they were saved.

They are not read with `read_volume`, because a lesion mask without a lesion is a good reference and an image
without contrast is not a good image.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from brain_edge.errors import InputError
from brain_edge.image.geometry import axis_moves
from brain_edge.image.volume import Mask
from brain_edge.io.nifti import read_numbers

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from brain_edge.image.geometry import AxisMoves, Geometry
    from brain_edge.image.volume import LabelArray

Array: TypeAlias = np.ndarray[tuple[int, ...], np.dtype[Any]]


def read_reference(path: Path, labels: Mapping[int, int]) -> Mask:
    """Read a label map (I, J, K) and give its values the labels of the model.

    Args:
        path: a NIfTI or MGH file with whole numbers in any voxel type.
        labels: value in the file -> label; a value that is not listed is refused. Empty: values are kept.

    Raises:
        InputError: not an image, several volumes, fractions (probabilities), a value without a label.
        GeometryError: the grid cannot be trusted.
    """
    values, geometry = read_numbers(path)
    return Mask(_relabelled(values, labels, path), geometry)


def moves_onto(geometry: Geometry, target: Geometry) -> AxisMoves | None:
    """The moves of axes after which a grid is another one, voxel by voxel; None where there are none."""
    moves = axis_moves(geometry.orientation, target.orientation)
    return moves if geometry.reoriented(moves).same_grid(target) else None


def _relabelled(values: Array, labels: Mapping[int, int], path: Path) -> LabelArray:
    present = np.unique(values)
    if not np.isfinite(present).all() or (present != np.round(present)).any():
        raise InputError(
            f"{path}: expected a reference mask of whole numbers, got fractions or NaN between "
            f"{present.min():g} and {present.max():g}; threshold it first"
        )
    table = labels or {value: value for value in range(1, 256)}
    strange = [int(value) for value in present if value != 0 and int(value) not in table]
    if strange:
        raise InputError(
            f"{path}: the reference mask holds the value {strange[0]}, expected "
            f"{', '.join(map(str, (0, *sorted(labels)))) if labels else '0 to 255'}; "
            "say in the cohort's `labels` what it means"
        )
    relabelled = np.zeros(values.shape, dtype=np.uint8)
    for value in (int(value) for value in present if value != 0):
        relabelled[values == value] = table[value]
    return relabelled
