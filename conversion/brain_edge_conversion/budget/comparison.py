"""Picture of several masks of one head over its anatomy, for judging a package that was made from another one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from brain_edge.jobs.pictures.mosaic import compose, contour_lines, contour_of, require_same_grid
from brain_edge.jobs.pictures.sheet import require_matplotlib, save

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from brain_edge.image.volume import Mask, Volume


def write_comparison_mosaic(
    volume: Volume,
    masks: Mapping[str, Mask],
    path: Path | str,
    *,
    title: str,
    notes: Sequence[str] = (),
    around_mask: bool = False,
) -> None:
    """Draw the outlines of several masks of one head, such as reference, PyTorch and INT8, and write a PNG.

    All labels of a mask count as one region. Later masks are drawn with thinner lines over earlier ones, so outlines
    that coincide stay visible. Arguments and errors are those of `brain_edge.jobs.pictures.mosaic.write_mosaic`.
    """
    require_matplotlib()
    for name, mask in masks.items():
        require_same_grid(volume, mask, f"mask {name!r}")
    contours = [
        contour_of(mask.labels > 0, name, mask.geometry, line._replace(width_pt=max(3.1 - 1.1 * k, 0.9)))
        for k, ((name, mask), line) in enumerate(zip(masks.items(), contour_lines(len(masks)), strict=True))
    ]
    alerts = [f"EMPTY MASK: no voxel is labelled in {name}." for name, mask in masks.items() if not mask.labels.any()]
    save(compose(volume, contours, title, [*alerts, *notes], around_mask=around_mask).figure, path)
