"""What a picture of a mask shows: which slices, which part of them, which side is where. Arrays in, arrays out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias

import numpy as np

from brain_edge.image.geometry import AXIS_PAIRS, axis_moves
from brain_edge.spec.steps.crop import bounding_box
from brain_edge.spec.steps.moves import reorder, take_box

if TYPE_CHECKING:
    from collections.abc import Sequence

    from brain_edge.image.geometry import Box, Geometry, Vector
    from brain_edge.image.volume import FloatArray, Volume

BoolArray: TypeAlias = np.ndarray[Any, np.dtype[np.bool_]]

DISPLAY: Final = "LPS"
"""Array order of the pictures: the first voxel lies right, anterior, inferior, as radiologists look at slices."""
SLICES: Final = (0.1, 0.3, 0.5, 0.7, 0.9)
"""Where slices are taken, as shares of the mask's extent: errors gather near its ends, so two lie there."""
WINDOW_PERCENT: Final = (1.0, 99.5)
"""Percentiles shown as black and as white: vessels and fat saturate, tissue keeps its contrast."""
BRAIN_SIZED_ML: Final = 300.0
"""From this size on a mask tells which intensities matter: white is then taken inside it, so that bright fat
around the head does not leave the brain dark. Otherwise it is taken above black, so that air does not count."""
MARGIN_MM: Final = 10.0
"""Shown around a mask that a picture is cut to: the skull, and what was missed nearby, but no face."""


class Plane(NamedTuple):
    """One way to cut a volume in `DISPLAY` order.

    Attributes:
        name: what radiologists call it, the direction in which slices follow one another, and who looks.
        across: the axis that the slices are counted along; the others run to the right, then vertically.
        upwards: whether the vertical axis grows upwards in the picture (K does, J does not).
        letters: where the left, right, upper and lower edge lie.
    """

    name: str
    across: int
    upwards: bool
    letters: str

    @property
    def sides(self) -> tuple[int, int]:
        """The axes that run to the right and vertically."""
        horizontal, vertical = (axis for axis in range(3) if axis != self.across)
        return horizontal, vertical

    def cut(self, voxels: np.ndarray[Any, np.dtype[Any]], index: int) -> np.ndarray[Any, np.dtype[Any]]:
        """One slice of (I, J, K) voxels as picture rows (vertical, horizontal)."""
        # np.take would copy the whole volume first
        return np.asarray(np.moveaxis(voxels, self.across, 0)[index].T)


PLANES: Final = (
    Plane("Axial, from inferior to superior, seen from the feet", 2, upwards=False, letters="RLAP"),
    Plane("Coronal, from anterior to posterior, seen from the front", 1, upwards=True, letters="RLSI"),
    Plane("Sagittal, from right to left, seen from the left", 0, upwards=True, letters="APSI"),
)
CONVENTION: Final = "Radiological convention: the patient's right (R) is on the left of axial and coronal slices."


@dataclass(frozen=True, eq=False)
class Scene:
    """What is looked at, in `DISPLAY` order and cut to what may be shown.

    Attributes:
        anatomy: float32 (I, J, K).
        regions: bool (I, J, K) each, on the same grid.
        spacing_mm: of that grid.
        slices: the indices to show, for each of `PLANES`.
        stored: for each axis, the letter of the file's axis that it is, and the index there of each slice.
    """

    anatomy: FloatArray
    regions: tuple[BoolArray, ...]
    spacing_mm: Vector
    slices: tuple[tuple[int, ...], ...]
    stored: tuple[tuple[str, range], ...]

    def size_mm(self, plane: Plane) -> tuple[float, float]:
        """Width and height of a slice."""
        width, height = (self.anatomy.shape[axis] * self.spacing_mm[axis] for axis in plane.sides)
        return width, height

    def window(self) -> tuple[float, float]:
        """The intensities shown as black and as white (estimated on every other voxel of a large image)."""
        step = slice(None, None, 2 if min(self.anatomy.shape) >= 32 else 1)
        sampled = self.anatomy[step, step, step]
        inside = np.logical_or.reduce([region[step, step, step] for region in self.regions])
        size_ml = np.count_nonzero(inside) / inside.size * self.anatomy.size * np.prod(self.spacing_mm) / 1000
        black = float(np.percentile(sampled, WINDOW_PERCENT[0]))
        bright = sampled[inside] if size_ml >= BRAIN_SIZED_ML else sampled[sampled > black]
        white = float(np.percentile(bright, WINDOW_PERCENT[1])) if bright.size else black
        # hardly anything but background: show what there is
        return (black, white) if black < white else (float(sampled.min()), float(sampled.max()))

    def place(self, plane: Plane, index: int) -> str:
        """Where a slice is in the file, such as "k = 87"; voxel indices count from 0."""
        letter, indices = self.stored[plane.across]
        return f"{letter} = {indices[index]}"


def make_scene(volume: Volume, regions: Sequence[BoolArray], *, around_mask: bool) -> Scene | None:
    """Choose the slices of a volume where `regions` (bool, on its grid) are.

    Args:
        volume: the anatomy.
        regions: what will be outlined; if all are empty, slices of the whole volume are chosen.
        around_mask: cut to the box around the regions and `MARGIN_MM`, and black out what is in the box but
            further than that from them: the box of a brain reaches over eyes and nose. None is returned if
            the regions are empty, because then nothing may be shown.
    """
    geometry = volume.geometry
    moves = axis_moves(geometry.orientation, DISPLAY)
    grid = geometry.reoriented(moves)
    whole: Box = ((0, grid.shape[0]), (0, grid.shape[1]), (0, grid.shape[2]))
    shown_regions = [reorder(region[None], moves) for region in regions]
    found = bounding_box(np.logical_or.reduce(shown_regions)[0]) if regions else None
    if found is None and around_mask:
        return None
    shown = _grown(found, grid) if found and around_mask else whole
    anatomy = take_box(reorder(volume.voxels[None], moves), shown)[0]
    cut_regions = tuple(take_box(region, shown)[0] for region in shown_regions)
    return Scene(
        _near(anatomy, cut_regions, grid.spacing_mm) if around_mask else anatomy,
        cut_regions,
        grid.spacing_mm,
        tuple(choose_slices((found or whole)[plane.across], shown[plane.across][0]) for plane in PLANES),
        tuple(_stored(geometry, move, span) for move, span in zip(moves, shown, strict=True)),
    )


def choose_slices(span: tuple[int, int], start: int = 0) -> tuple[int, ...]:
    """The slices at `SLICES` of a half-open span, counted from `start`; fewer where the span has fewer."""
    low, high = span
    return tuple(sorted({round(low + share * (high - 1 - low)) - start for share in SLICES}))


def tilt_deg(geometry: Geometry) -> float:
    """Largest angle between an axis of the grid and the anatomical axis it is named after."""
    cosines = geometry.affine[:3, :3] / np.array(geometry.spacing_mm)
    worlds = [next(w for w, pair in enumerate(AXIS_PAIRS) if letter in pair) for letter in geometry.orientation]
    return float(np.degrees(np.arccos(min(1.0, *(abs(cosines[w, axis]) for axis, w in enumerate(worlds))))))


def _near(anatomy: FloatArray, regions: Sequence[BoolArray], spacing_mm: Vector) -> FloatArray:
    """The anatomy within `MARGIN_MM` of the regions, its darkest value elsewhere."""
    from scipy.ndimage import distance_transform_edt

    outside = ~np.logical_or.reduce(regions)
    near = np.asarray(distance_transform_edt(outside, sampling=spacing_mm)) <= MARGIN_MM
    return np.asarray(np.where(near, anatomy, anatomy[near].min()), dtype=np.float32)


def _grown(box: Box, grid: Geometry) -> Box:
    """The box with `MARGIN_MM` on each side, in whole voxels and within the grid."""
    margins = (int(MARGIN_MM / spacing) for spacing in grid.spacing_mm)
    first, second, third = (
        (max(low - margin, 0), min(high + margin, side))
        for (low, high), margin, side in zip(box, margins, grid.shape, strict=True)
    )
    return (first, second, third)


def _stored(geometry: Geometry, move: tuple[int, bool], span: tuple[int, int]) -> tuple[str, range]:
    axis, flipped = move
    low, high = span
    last = geometry.shape[axis] - 1
    return "ijk"[axis], range(last - low, last - high, -1) if flipped else range(low, high)
