"""Content of a picture of a mask: slices, their shown part, and their sides. Arrays in, arrays out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias

import numpy as np

from brain_edge.image.box import bounding_box
from brain_edge.image.geometry import AXIS_PAIRS, axis_moves
from brain_edge.spec.steps.moves import reorder, take_box

if TYPE_CHECKING:
    from collections.abc import Sequence

    from brain_edge.image.geometry import Box, Geometry, Vector
    from brain_edge.image.volume import FloatArray, Volume

BoolArray: TypeAlias = np.ndarray[Any, np.dtype[np.bool_]]

DISPLAY: Final = "LPS"
"""Array order of the pictures: the first voxel lies right, anterior, inferior, as radiologists look at slices."""
SLICES: Final = (0.1, 0.3, 0.5, 0.7, 0.9)
"""Positions of the slices as fractions of the mask's extent; two lie near its ends, where errors gather."""
WINDOW_PERCENT: Final = (1.0, 99.5)
"""Percentiles shown as black and as white; vessels and fat saturate, and tissue keeps its contrast."""
BRAIN_SIZED_ML: Final = 300.0
"""Minimum volume of a mask that sets the white level: white is then a percentile inside the mask, so that bright fat
around the head does not make the brain dark. Otherwise it is a percentile of all voxels above black, without air."""
MARGIN_MM: Final = 10.0
"""Margin around the mask of a cut picture: it shows the skull and missed tissue nearby, but no face."""


class Plane(NamedTuple):
    """Plane in which a volume in `DISPLAY` order is cut.

    Attributes:
        name: radiological name, direction of successive slices, and direction of view.
        across: axis along which slices are counted; the other axes run to the right, then vertically.
        upwards: True if the vertical axis points upwards in the picture (K does, J does not).
        letters: directions of the left, right, upper and lower edge.
    """

    name: str
    across: int
    upwards: bool
    letters: str

    @property
    def sides(self) -> tuple[int, int]:
        """Axes that run to the right and vertically."""
        horizontal, vertical = (axis for axis in range(3) if axis != self.across)
        return horizontal, vertical

    def cut(self, voxels: np.ndarray[Any, np.dtype[Any]], index: int) -> np.ndarray[Any, np.dtype[Any]]:
        """Return one slice of (I, J, K) voxels as picture rows (vertical, horizontal)."""
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
    """Anatomy and regions in `DISPLAY` order, cut to the part that may be shown.

    Attributes:
        anatomy: float32 (I, J, K).
        regions: bool (I, J, K) each, on the same grid.
        spacing_mm: spacing of this grid.
        slices: indices to show, for each of `PLANES`.
        stored: letter of the same axis in the file and the file's index of each slice, for each axis.
    """

    anatomy: FloatArray
    regions: tuple[BoolArray, ...]
    spacing_mm: Vector
    slices: tuple[tuple[int, ...], ...]
    stored: tuple[tuple[str, range], ...]

    def size_mm(self, plane: Plane) -> tuple[float, float]:
        """Return width and height of a slice."""
        width, height = (self.anatomy.shape[axis] * self.spacing_mm[axis] for axis in plane.sides)
        return width, height

    def window(self) -> tuple[float, float]:
        """Return the intensities shown as black and as white (estimated on every other voxel of a large image)."""
        step = slice(None, None, 2 if min(self.anatomy.shape) >= 32 else 1)
        sampled = self.anatomy[step, step, step]
        inside = np.logical_or.reduce([region[step, step, step] for region in self.regions])
        size_ml = np.count_nonzero(inside) / inside.size * self.anatomy.size * np.prod(self.spacing_mm) / 1000
        black = float(np.percentile(sampled, WINDOW_PERCENT[0]))
        bright = sampled[inside] if size_ml >= BRAIN_SIZED_ML else sampled[sampled > black]
        white = float(np.percentile(bright, WINDOW_PERCENT[1])) if bright.size else black
        # hardly anything but background: show the full range
        return (black, white) if black < white else (float(sampled.min()), float(sampled.max()))

    def place(self, plane: Plane, index: int) -> str:
        """Return the place of a slice in the file, such as "k = 87"; voxel indices count from 0."""
        letter, indices = self.stored[plane.across]
        return f"{letter} = {indices[index]}"


def make_scene(volume: Volume, regions: Sequence[BoolArray], *, around_mask: bool) -> Scene | None:
    """Choose the slices of a volume that show `regions` (bool, on the grid of the volume).

    Args:
        volume: the anatomy.
        regions: regions to outline; if all are empty, the slices cover the whole volume.
        around_mask: cut to the box around the regions plus `MARGIN_MM`, and black out voxels of the box that are
            further from the regions: the box of a brain reaches over eyes and nose. With empty regions the result
            is None, because nothing may be shown.
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
    """Return the slices at `SLICES` of a half-open span, counted from `start`; a short span gives fewer slices."""
    low, high = span
    return tuple(sorted({round(low + share * (high - 1 - low)) - start for share in SLICES}))


def tilt_deg(geometry: Geometry) -> float:
    """Return the largest angle between an axis of the grid and its anatomical axis."""
    cosines = geometry.affine[:3, :3] / np.array(geometry.spacing_mm)
    worlds = [next(w for w, pair in enumerate(AXIS_PAIRS) if letter in pair) for letter in geometry.orientation]
    return float(np.degrees(np.arccos(min(1.0, *(abs(cosines[w, axis]) for axis, w in enumerate(worlds))))))


def _near(anatomy: FloatArray, regions: Sequence[BoolArray], spacing_mm: Vector) -> FloatArray:
    """Return the anatomy within `MARGIN_MM` of the regions, and its darkest value elsewhere."""
    from scipy.ndimage import distance_transform_edt

    outside = ~np.logical_or.reduce(regions)
    near = np.asarray(distance_transform_edt(outside, sampling=spacing_mm)) <= MARGIN_MM
    return np.asarray(np.where(near, anatomy, anatomy[near].min()), dtype=np.float32)


def _grown(box: Box, grid: Geometry) -> Box:
    """Return the box with `MARGIN_MM` on each side, in whole voxels and within the grid."""
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
