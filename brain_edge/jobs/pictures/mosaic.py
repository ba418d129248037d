"""Draw a picture to judge a mask: its contours over the anatomy, in slices of three planes, as one PNG.

All panels have one scale in mm. The pixels themselves state the sides, the volume of each region and the research
use, because a picture may lose its file name and its page, but never its pixels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from brain_edge.errors import GeometryError, InputError
from brain_edge.jobs.pictures.scene import CONVENTION, MARGIN_MM, PLANES, make_scene, tilt_deg
from brain_edge.jobs.pictures.sheet import (
    ALERT,
    EDGE_PX,
    FAINT,
    GAP_PX,
    LINE_PX,
    WIDTH_PX,
    Block,
    Font,
    Line,
    assembled,
    require_matplotlib,
    save,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from brain_edge.image.geometry import Geometry
    from brain_edge.image.volume import Mask, Volume
    from brain_edge.jobs.pictures.scene import BoolArray, Plane, Scene
    from brain_edge.jobs.pictures.sheet import Panel, Sheet

RESEARCH_USE_ONLY: Final = "RESEARCH USE ONLY"
NOTHING_SHOWN: Final = "No anatomy is shown: the picture is cut to the mask, and the mask is empty."
OBLIQUE_DEG: Final = 1.0
"""Minimum tilt at which the picture states that its planes are not the anatomical planes."""

TITLE_FONT: Final = Font(17, weight="bold")
WARNING_FONT: Final = Font(15, ALERT, "bold")
ALERT_FONT: Final = Font(12, ALERT, "bold")
LEGEND_FONT: Final = Font(12)
FAINT_FONT: Final = Font(colour=FAINT)

COLOURS: Final = ("#E69F00", "#56B4E9", "#F0E442", "#CC79A7", "#009E73", "#D55E00", "#0072B2")
"""Colours of Okabe and Ito (2008), distinct for any colour vision, sorted by contrast to grey."""
DASHES: Final[tuple[tuple[float, ...], ...]] = ((), (3.0, 1.2), (1.0, 1.2), (4.0, 1.0, 1.0, 1.0))
"""Line patterns in line widths, for contours beyond the seventh: 28 different lines."""

CONTOUR_PT: Final = 1.3
COLUMNS: Final = 5
LARGEST_PANEL_PX: Final = 520
"""Maximum height of a panel: a slab of a few slices is not enlarged to the width of a cell beyond it."""
SCALE_BAR_MM: Final = 50


@dataclass(frozen=True, eq=False)
class Contour:
    """Region to outline: bool (I, J, K) on the grid of the volume, with its caption in the legend."""

    region: BoolArray
    caption: str
    line: Line


def write_mosaic(
    volume: Volume,
    mask: Mask,
    path: Path | str,
    *,
    title: str,
    legend: Mapping[int, str],
    notes: Sequence[str] = (),
    around_mask: bool = False,
) -> None:
    """Draw the contour of every label over the anatomy and write the picture as PNG.

    Args:
        volume: the anatomy.
        mask: labels on the same grid; the picture of an empty mask states that it is empty.
        path: path of the PNG, replaced in one step if it exists.
        title: title as plain text, without mathematics.
        legend: name of every label in the mask; labels that do not occur are listed with 0 ml.
        notes: lines that must be seen, such as the flags of a segmentation.
        around_mask: show only the anatomy within `MARGIN_MM` of the mask, so that the picture shows no face. With an
            empty mask, no anatomy is shown at all.

    Raises:
        GeometryError: volume and mask lie on different grids.
        InputError: the mask holds a label without a name.
        MissingExtraError: matplotlib is not installed.
        OutputError: the file cannot be written.
    """
    require_matplotlib()
    require_same_grid(volume, mask, "mask")
    _require_names(mask, legend, volume.name)
    contours = label_contours(mask, legend)
    alerts = [] if mask.labels.any() else ["EMPTY MASK: no voxel is labelled."]
    save(compose(volume, contours, title, [*alerts, *notes], around_mask=around_mask).figure, path)


def label_contours(mask: Mask, legend: Mapping[int, str]) -> list[Contour]:
    """Return a contour for each label of the legend except background."""
    names = {label: name for label, name in sorted(legend.items()) if label != 0}
    return [
        contour_of(mask.labels == label, name, mask.geometry, line)
        for (label, name), line in zip(names.items(), contour_lines(len(names)), strict=True)
    ]


def compose(
    volume: Volume, contours: Sequence[Contour], title: str, alerts: Sequence[str], *, around_mask: bool
) -> Sheet:
    """Compose the picture: title, rows of slices, legend, alerts (which must be seen) and reading remarks."""
    scene = make_scene(volume, [contour.region for contour in contours], around_mask=around_mask)
    remarks = _remarks(volume.geometry, cut=around_mask) if scene else [NOTHING_SHOWN]
    blocks = [
        _title(title),
        *_rows(scene, [contour.line for contour in contours]),
        _legend(contours),
        _paragraph(alerts, ALERT_FONT),
        _paragraph(remarks, FAINT_FONT),
    ]
    return assembled(blocks)


def captioned_row(volume: Volume, contours: Sequence[Contour], caption: str) -> list[Block]:
    """Return a caption and the axial slices of a volume with contours, as blocks of a sheet."""
    scene = make_scene(volume, [contour.region for contour in contours], around_mask=False)
    if scene is None:
        return [_paragraph([caption, NOTHING_SHOWN], LEGEND_FONT)]
    width_mm, height_mm = scene.size_mm(PLANES[0])
    cell_px = (WIDTH_PX - 2 * EDGE_PX - (COLUMNS - 1) * GAP_PX) / COLUMNS
    scale = min(cell_px / width_mm, LARGEST_PANEL_PX / height_mm)
    lines = [contour.line for contour in contours]
    return [_paragraph([caption], LEGEND_FONT), _row(scene, PLANES[0], lines, scale)]


def page_of(title: str, rows: Sequence[Block], alerts: Sequence[str]) -> Sheet:
    """Return a sheet with a title, rows, alerts (which must be seen) and the convention of the sides."""
    return assembled([_title(title), *rows, _paragraph(alerts, ALERT_FONT), _paragraph([CONVENTION], FAINT_FONT)])


def require_same_grid(volume: Volume, mask: Mask, name: str) -> None:
    """Check that a mask lies on the grid of the volume below it.

    Raises:
        GeometryError: the mask lies on another grid.
    """
    if not volume.geometry.same_grid(mask.geometry):
        raise GeometryError(
            f"{volume.name}: expected the {name} on the grid of the volume {volume.geometry.shape}, got another "
            f"grid {mask.geometry.shape}; map the {name} back to the volume before drawing it"
        )


def _require_names(mask: Mask, legend: Mapping[int, str], name: str) -> None:
    unnamed = set(np.flatnonzero(np.bincount(mask.labels.ravel())).tolist()) - {0, *legend}
    if unnamed:
        raise InputError(
            f"{name}: expected a name for every label of the mask, got none for "
            f"{', '.join(map(str, sorted(unnamed)))}; use the label table of the model that made the mask"
        )


def contour_of(region: BoolArray, name: str, geometry: Geometry, line: Line) -> Contour:
    """Return the contour of a region, with its volume in the caption."""
    volume_ml = float(np.count_nonzero(region)) * geometry.voxel_volume_ml
    digits = 2 if 0 < volume_ml < 10 else 1 if volume_ml else 0
    return Contour(region, f"{name}  {volume_ml:.{digits}f} ml", line)


def contour_lines(count: int) -> list[Line]:
    """Return a line style for each of `count` contours; styles repeat after 28."""
    return [Line(COLOURS[k % len(COLOURS)], DASHES[k // len(COLOURS) % len(DASHES)], CONTOUR_PT) for k in range(count)]


def _remarks(geometry: Geometry, *, cut: bool) -> list[str]:
    """Return the remarks that a reader needs to read the slices."""
    remarks = [f"{CONVENTION} Slice numbers are voxel indices of the file, from 0."]
    tilt = tilt_deg(geometry)
    if tilt >= OBLIQUE_DEG:
        remarks.append(f"Oblique acquisition: its planes are up to {tilt:.0f}° off the anatomical planes.")
    if cut:
        remarks.append(f"Only the mask and {MARGIN_MM:g} mm around it are shown.")
    return remarks


def _title(title: str) -> Block:
    warning_px = WARNING_FONT.width_px(RESEARCH_USE_ONLY) + 4 * GAP_PX
    lines = TITLE_FONT.wrapped([title], WIDTH_PX - 2 * EDGE_PX - warning_px) or [""]
    pitch_px = 1.4 * LINE_PX

    def draw(sheet: Sheet, top: float) -> None:
        sheet.text(WIDTH_PX - EDGE_PX, top + 3, RESEARCH_USE_ONLY, WARNING_FONT, ha="right")
        for k, line in enumerate(lines):
            sheet.text(EDGE_PX, top + pitch_px * k, line, TITLE_FONT)

    return Block(pitch_px * len(lines) + GAP_PX, draw)


def _rows(scene: Scene | None, lines: Sequence[Line]) -> list[Block]:
    """Return one row of panels per plane, all at one scale, and the scale bar."""
    if scene is None:
        return []
    cell_px = (WIDTH_PX - 2 * EDGE_PX - (COLUMNS - 1) * GAP_PX) / COLUMNS
    sizes_mm = [scene.size_mm(plane) for plane in PLANES]
    scale = min(min(cell_px / width, LARGEST_PANEL_PX / height) for width, height in sizes_mm)
    return [_scale_bar(scale), *(_row(scene, plane, lines, scale) for plane in PLANES)]


def _row(scene: Scene, plane: Plane, lines: Sequence[Line], scale: float) -> Block:
    width_mm, height_mm = scene.size_mm(plane)
    width_px, height_px = scale * width_mm, scale * height_mm
    # left, right, bottom and top of a picture, its first voxel's outer corner at (0, 0)
    extent_mm = (0.0, width_mm, 0.0, height_mm) if plane.upwards else (0.0, width_mm, height_mm, 0.0)
    slices = scene.slices[PLANES.index(plane)]
    pitch_px = (WIDTH_PX - 2 * EDGE_PX + GAP_PX) / COLUMNS
    window = scene.window()

    def draw(sheet: Sheet, top: float) -> None:
        sheet.text(EDGE_PX, top, plane.name, FAINT_FONT)
        for column, index in enumerate(slices):
            left = EDGE_PX + column * pitch_px + (pitch_px - GAP_PX - width_px) / 2
            panel = sheet.panel(left, top + LINE_PX, (width_px, height_px), extent_mm)
            panel.picture(plane.cut(scene.anatomy, index), window)
            _draw_contours(panel, scene, plane, index, lines)
            _draw_letters(panel, plane, scene.place(plane, index))

    return Block(LINE_PX + height_px + 2 * GAP_PX, draw)


def _draw_contours(panel: Panel, scene: Scene, plane: Plane, index: int, lines: Sequence[Line]) -> None:
    steps = [scene.spacing_mm[axis] for axis in plane.sides]
    for region, line in zip(scene.regions, lines, strict=True):
        # a rim of background closes contours at the border of the image
        cut = np.pad(plane.cut(region, index), 1).astype(np.float32)
        if not cut.any():
            continue
        x_mm, y_mm = ((np.arange(n) - 0.5) * step for n, step in zip(cut.shape[::-1], steps, strict=True))
        panel.contour(x_mm, y_mm, cut, line)


def _draw_letters(panel: Panel, plane: Plane, place: str) -> None:
    places = (
        (0.01, 0.5, "left", "center"),
        (0.99, 0.5, "right", "center"),
        (0.5, 0.99, "center", "top"),
        (0.5, 0.01, "center", "bottom"),
        (0.01, 0.01, "left", "bottom"),
    )
    for (x, y, ha, va), text in zip(places, (*plane.letters, place), strict=True):
        panel.letters(x, y, text, ha, va)


def _scale_bar(scale: float) -> Block:
    """Return the scale bar, to the right on the line with the name of the first row."""
    length_px = SCALE_BAR_MM * scale

    def draw(sheet: Sheet, top: float) -> None:
        left, middle = WIDTH_PX - EDGE_PX - length_px, top + LINE_PX / 3
        sheet.rule(left, middle, length_px, Line(FAINT, (), 2.0))
        sheet.text(left - GAP_PX, middle, f"{SCALE_BAR_MM} mm", FAINT_FONT, ha="right", va="center_baseline")

    return Block(0, draw)


def _legend(contours: Sequence[Contour]) -> Block:
    """Return the legend: a line and a caption per contour, in as many columns as the longest caption allows."""
    swatch_px = 44
    longest_px = max((LEGEND_FONT.width_px(contour.caption) for contour in contours), default=0)
    column_px = swatch_px + 4 * GAP_PX + longest_px
    columns = max(1, int((WIDTH_PX - 2 * EDGE_PX) // column_px))

    def draw(sheet: Sheet, top: float) -> None:
        for k, contour in enumerate(contours):
            x, y = EDGE_PX + k % columns * column_px, top + LINE_PX * (k // columns + 0.5)
            sheet.rule(x, y, swatch_px, contour.line._replace(width_pt=max(contour.line.width_pt, 2.0)))
            sheet.text(x + swatch_px + GAP_PX, y, contour.caption, LEGEND_FONT, va="center_baseline")

    return Block(LINE_PX * -(-len(contours) // columns) + 2 * GAP_PX, draw)


def _paragraph(sentences: Sequence[str], font: Font) -> Block:
    """Return text below the pictures, each sentence on its own line, wrapped if too long."""
    lines = font.wrapped(sentences, WIDTH_PX - 2 * EDGE_PX)

    def draw(sheet: Sheet, top: float) -> None:
        for k, line in enumerate(lines):
            sheet.text(EDGE_PX, top + LINE_PX * k, line, font)

    return Block(LINE_PX * len(lines), draw)
