"""Recognition of what a study still needs: it may be prepared already, or in part."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Final

import numpy as np

from brain_edge.errors import InputError
from brain_edge.image.geometry import axis_moves
from brain_edge.preparation.checks import shows_head
from brain_edge.spec.stripped import LARGEST_BRAIN_ML, content_ml

if TYPE_CHECKING:
    from brain_edge.image.geometry import Geometry
    from brain_edge.image.volume import Study
    from brain_edge.spec.preparation import Preparation

SPACING_TOLERANCE: Final = 0.01
"""Relative difference of two spacings that count as the same."""


class Part(StrEnum):
    """A part of a preparation."""

    SEQUENCES = "registration of the sequences"
    ATLAS = "registration to the atlas"
    GRID = "new grid"
    SKULL = "removal of the skull"


def missing_parts(study: Study, preparation: Preparation) -> tuple[Part, ...]:
    """Return the parts of a preparation that a study still needs; empty if the study is prepared.

    Sequences count as registered if they lie on one grid that nobody scans: that of the atlas, or one of the prepared
    spacing. A brain counts as a brain alone if no sequence has more content than a brain. The order of the axes does
    not count, because a step of the model sets it. A part of the grid of the atlas counts as that grid. A slice or a
    slab of the prepared spacing is a part of a prepared study, because no registration can use one.
    """
    reference = study.volumes[reference_of(study, preparation)].geometry
    one_grid = all(volume.geometry.same_grid(reference) for volume in study.volumes.values())
    if one_grid and _has_spacing(reference, preparation) and not shows_head(reference):
        return ()
    parts = {
        Part.SEQUENCES: not one_grid or (len(study.volumes) > 1 and not _has_spacing(reference, preparation)),
        Part.ATLAS: bool(preparation.atlas) and not _is_on_atlas(reference, preparation),
        Part.GRID: not preparation.atlas and not _has_spacing(reference, preparation),
        Part.SKULL: preparation.removes_skull and not is_stripped(study),
    }
    return tuple(part for part, needed in parts.items() if needed)


def reference_of(study: Study, preparation: Preparation) -> str:
    """Return the name of the sequence to which the others are registered.

    Raises:
        InputError: the study has none of the references.
    """
    found = next((name for name in preparation.references if name in study.volumes), None)
    if found is None:
        raise InputError(
            f"expected {' or '.join(preparation.references)} as the reference of the registration, got "
            f"{', '.join(study.volumes)}; add one of them"
        )
    return found


def is_stripped(study: Study) -> bool:
    """Return True if no sequence shows more than a brain."""
    return all(content_ml(volume) <= LARGEST_BRAIN_ML for volume in study.volumes.values())


def _is_on_atlas(grid: Geometry, preparation: Preparation) -> bool:
    if not preparation.atlas:
        return False
    atlas = preparation.atlas.geometry
    turned = grid.reoriented(axis_moves(grid.orientation, atlas.orientation))
    first = np.linalg.inv(atlas.affine) @ turned.affine[:, 3]
    box = [(int(start), int(start) + side) for start, side in zip(np.rint(first[:3]), turned.shape, strict=True)]
    inside = all(low >= 0 and high <= side for (low, high), side in zip(box, atlas.shape, strict=True))
    return inside and turned.same_grid(atlas.cropped((box[0], box[1], box[2])))


def _has_spacing(grid: Geometry, preparation: Preparation) -> bool:
    wanted = preparation.atlas.spacing_mm if preparation.atlas else preparation.spacing_mm
    return bool(np.allclose(grid.spacing_mm, wanted, rtol=SPACING_TOLERANCE))
