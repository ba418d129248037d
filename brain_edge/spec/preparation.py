"""Preparation of a study before the first step: how the sequences come to lie over each other, without a skull.

Networks for tumours were trained on four sequences on one grid of 1 mm. No scanner makes such a study. A preparation
states what the authors of the data did; `brain_edge.preparation` does it.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Final, TypeAlias

import msgspec
import numpy as np
from msgspec import UNSET, Meta, UnsetType

from brain_edge.image.geometry import (
    AXIS_PAIRS,
    MOST_VOXELS,
    SPACINGS_MM,
    Affine,
    Geometry,
    Shape,
    axis_moves,
    is_orientation,
)
from brain_edge.spec.base import Value

SequenceName = Annotated[str, Meta(min_length=1)]
Side = Annotated[int, Meta(ge=1, le=4096)]
Spacing = Annotated[float, Meta(ge=SPACINGS_MM[0], le=SPACINGS_MM[1])]
PREPARED_GRID: Final = "atlas"
"""Name of the grid of the prepared images where a user names a sequence."""
WorldMm: TypeAlias = tuple[float, float, float]


class Skull(StrEnum):
    """Treatment of what is not brain."""

    KEPT = "kept"
    """The network sees the whole head."""
    REMOVED_BEFORE = "removed-before"
    """Stage 0 finds the brain in the image as it was scanned; its mask moves with the image."""
    REMOVED_AFTER = "removed-after"
    """Stage 0 finds the brain in the image on its new grid."""


class Doubtful(StrEnum):
    """Treatment of a registration that a person must look at; one that has failed is always refused."""

    REFUSED = "refused"
    """The case is an error; nothing is written."""
    FLAGGED = "flagged"
    """The case goes on with a flag; `--strict` makes it an error."""


class Atlas(Value, frozen=True):
    """An atlas: the name of its space and its grid. The image of the atlas is in no package.

    Attributes:
        space: name of the space, as BIDS derivatives spell it in `space-`.
        shape: number of voxels along each axis.
        spacing_mm: distance between voxel centres, the same along each axis, mm.
        axes: anatomical directions of the axes, such as LPS.
        origin_mm: centre of the first voxel in the world, RAS+, mm.
    """

    space: Annotated[str, Meta(pattern=r"^[A-Za-z0-9]{1,64}$")]
    shape: tuple[Side, Side, Side]
    spacing_mm: Spacing
    axes: str
    origin_mm: WorldMm

    def __post_init__(self) -> None:
        _require_axes(self.axes)
        if int(np.prod(self.shape)) > MOST_VOXELS:
            msg = f"expected an atlas of at most {MOST_VOXELS} voxels, got {' x '.join(map(str, self.shape))}"
            raise ValueError(msg)

    @property
    def geometry(self) -> Geometry:
        """Grid of the atlas."""
        return Geometry(self.shape, _upright(self.axes, self.spacing_mm, self.origin_mm))


class Preparation(Value, frozen=True):
    """What happens to a study as it was scanned, before the first step of the model.

    Attributes:
        references: sequences to which the others are registered, the preferred one first; the first one in the study
            is taken.
        atlas: atlas to which the reference is registered; omitted if the study stays where it is.
        spacing_mm: spacing of the new grid without an atlas, mm.
        axes: anatomical directions of the new grid without an atlas.
        bias_field: True to correct the bias field of the images from which a transform is found. The images that the
            network sees are not corrected.
        skull: treatment of what is not brain.
        doubtful: treatment of a registration that a person must look at.
    """

    references: Annotated[tuple[SequenceName, ...], Meta(min_length=1)]
    atlas: Atlas | UnsetType = UNSET
    spacing_mm: Spacing = 1.0
    axes: str = "LPS"
    bias_field: bool = False
    skull: Skull = Skull.KEPT
    doubtful: Doubtful = Doubtful.FLAGGED

    def __post_init__(self) -> None:
        _require_axes(self.axes)
        if len(set(self.references)) < len(self.references):
            msg = f"expected different `references`, got {', '.join(self.references)}"
            raise ValueError(msg)

    @property
    def removes_skull(self) -> bool:
        """True if the network sees a brain alone."""
        return self.skull is not Skull.KEPT

    @property
    def space(self) -> str:
        """Name of the space of the prepared images, as BIDS spells it in `space-`."""
        return self.atlas.space if self.atlas else "reference"

    @property
    def canonical(self) -> bytes:
        """Canonical JSON, from which hashes are computed."""
        return msgspec.json.encode(self, order="sorted")

    def grid(self, native: Geometry) -> Geometry:
        """Return the grid of the prepared images.

        Args:
            native: grid of the reference as it was scanned. It matters only without an atlas.
        """
        if self.atlas:
            return self.atlas.geometry
        turned = native.reoriented(axis_moves(native.orientation, self.axes))
        sides = [max(1, round(extent / self.spacing_mm)) for extent in turned.extent_mm]
        return _around(turned, (sides[0], sides[1], sides[2]), self.spacing_mm)

    def sentences(self) -> tuple[str, ...]:
        """Return the preparation in words, one sentence for each part."""
        first = self.references[0]
        place = f"registers {first} to {self.atlas.space}" if self.atlas else f"keeps {first} in its place"
        field = "; the bias field is corrected for that alone" if self.bias_field else ""
        skull = {
            Skull.KEPT: "keeps the skull",
            Skull.REMOVED_BEFORE: "removes the skull before the images move",
            Skull.REMOVED_AFTER: "removes the skull after the images have moved",
        }[self.skull]
        return (f"registers the other sequences to {first}{field}", place, skull)


def _require_axes(axes: str) -> None:
    if not is_orientation(axes):
        msg = f"expected `axes` that name each anatomical axis once, such as LPS, got {axes!r}"
        raise ValueError(msg)


def _upright(axes: str, spacing_mm: float, origin_mm: WorldMm) -> Affine:
    """Return the affine of a grid along the axes of the world."""
    affine = np.eye(4)
    affine[:3, :3] = 0.0
    for axis, letter in enumerate(axes):
        world = next(number for number, pair in enumerate(AXIS_PAIRS) if letter in pair)
        affine[world, axis] = spacing_mm * (1 if AXIS_PAIRS[world].index(letter) else -1)
    affine[:3, 3] = origin_mm
    return affine


def _around(native: Geometry, shape: Shape, spacing_mm: float) -> Geometry:
    """Return a grid of this spacing along the axes of `native` and around the same centre."""
    directions = np.asarray(native.affine[:3, :3]) / np.array(native.spacing_mm)
    affine = np.eye(4)
    affine[:3, :3] = directions * spacing_mm
    centre = native.affine[:3, :3] @ ((np.array(native.shape) - 1) / 2) + native.affine[:3, 3]
    affine[:3, 3] = centre - affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    return Geometry(shape, affine)
