"""Picture to judge a preparation: the brain of the reference over each sequence, and reference and atlas in squares."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from brain_edge.image.volume import Volume
from brain_edge.jobs.pictures.mosaic import captioned_row, contour_lines, contour_of, page_of
from brain_edge.jobs.pictures.sheet import require_matplotlib, save
from brain_edge.registration.through import resample_through

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from brain_edge.image.volume import FloatArray, Mask
    from brain_edge.jobs.pictures.mosaic import Contour
    from brain_edge.jobs.pictures.sheet import Block
    from brain_edge.preparation.prepared import Prepared

SQUARE_MM: Final = 24.0
"""Side of a square of the checkerboard: a few squares cross the ventricles, whose borders show a displacement."""
WHITE_PERCENT: Final = 99.0


def write_prepared_view(prepared: Prepared, path: Path, *, title: str, atlas: Volume | None = None) -> None:
    """Draw the brain of the reference over each sequence, with its skull, and a checkerboard with the atlas.

    Args:
        prepared: prepared study.
        path: path of the PNG.
        title: title as plain text.
        atlas: image of the atlas; None without an atlas.

    Raises:
        MissingExtraError: matplotlib is not installed.
        OutputError: the file cannot be written.
    """
    require_matplotlib()
    rows = [block for row in _rows(prepared, atlas) for block in row]
    save(page_of(f"{title}: preparation", rows, [flag.message for flag in prepared.flags]).figure, path)


def checkerboard(first: Volume, second: Volume, brain: Mask | None = None) -> Volume:
    """Return two images of one grid in alternating cubes, each scaled to its own bright value.

    Args:
        first: image of the first cube.
        second: image of the next cube, on the same grid.
        brain: region in which the bright value is looked for; None for all that is not background.
    """
    sides = [max(1, round(SQUARE_MM / spacing)) for spacing in first.geometry.spacing_mm]
    numbers = [np.arange(count) // side for count, side in zip(first.geometry.shape, sides, strict=True)]
    odd = (numbers[0][:, None, None] + numbers[1][:, None] + numbers[2]) % 2 == 1
    return Volume(np.where(odd, _scaled(second, brain), _scaled(first, brain)), first.geometry, first.name)


def _rows(prepared: Prepared, atlas: Volume | None) -> Iterator[list[Block]]:
    reference = prepared.study.reference
    whole = {name: _whole(prepared, name) for name in prepared.study.volumes}
    shown = prepared.made_by.get("brain of", reference)
    contours = _contours(prepared, f"brain of {shown}")
    for name, volume in whole.items():
        caption = f"{name}{'' if name == shown or not contours else f', with the brain of {shown}'}"
        yield captioned_row(volume, contours, caption)
    if atlas is not None and atlas.geometry.same_grid(whole[reference].geometry):
        board = checkerboard(whole[reference], atlas, prepared.brain)
        yield captioned_row(board, contours, f"{reference} and the atlas in squares")


def _whole(prepared: Prepared, name: str) -> Volume:
    """Return an image on the prepared grid with its skull, because the border of a stripped one is that of the mask."""
    if name not in prepared.transforms:
        return prepared.scanned.volumes[name]
    return resample_through(prepared.scanned.volumes[name], prepared.transforms[name], prepared.study.geometry)


def _contours(prepared: Prepared, name: str) -> list[Contour]:
    if prepared.brain is None:
        return []
    (line,) = contour_lines(1)
    return [contour_of(prepared.brain.labels > 0, name, prepared.brain.geometry, line)]


def _scaled(volume: Volume, brain: Mask | None) -> FloatArray:
    inside = volume.voxels > volume.voxels.min() if brain is None else brain.labels > 0
    white = float(np.percentile(volume.voxels[inside], WHITE_PERCENT)) if inside.any() else 1.0
    return np.asarray(np.clip(volume.voxels / (white or 1.0), 0.0, 1.5), dtype=np.float32)
