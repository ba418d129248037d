"""Stacking of slices to a grid: slices are sorted by position and refused unless they form one regular stack.

Only this module converts LPS to RAS. Arrays are indexed (I, J, K) = (column, row, slice). Slices ascend along the
normal (row direction x column direction), so that every stack is right-handed in LPS.
"""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from brain_edge.errors import GeometryError
from brain_edge.image.geometry import Geometry, require_head

if TYPE_CHECKING:
    from collections.abc import Sequence

    from brain_edge.io.dicom.instance import DicomFrame

Array = np.ndarray[Any, np.dtype[np.float64]]

LPS_TO_RAS: Final = (-1.0, -1.0, 1.0)
"""Signs from LPS to RAS. DICOM's x and y point to the patient's left and back (PS3.3 C.7.6.2.1.1)."""

MINIMUM_SLICES: Final = 3
"""Smallest number of slices of a volume: two slices cannot show that one between them is missing."""

COSINE_TOLERANCE: Final = 1e-3
"""Largest difference of direction cosines within a series: 0.06 degrees, 0.1 mm over a head."""

SAME_PLACE_MM: Final = 0.01
"""Distance in mm below which slices lie at the same position."""

STEP_TOLERANCE: Final = 0.02
"""Largest deviation of a slice from the regular grid, as a share of the slice distance, to allow for rounding."""

ECHO_TOLERANCE: Final = 0.01
"""Largest relative difference of the echo times of one image, to allow for rounding."""

_COMPONENT: Final = re.compile(r"[MPRI](_\w+)?|MAGNITUDE|PHASE( MAP)?|REAL|IMAGINARY")
"""Words of ImageType and ComplexImageComponent for one part of a complex image, such as M, M_FFE, PHASE."""


def stack_frames(frames: Sequence[DicomFrame]) -> tuple[tuple[DicomFrame, ...], Geometry]:
    """Sort slices by position and find their grid: the frames in the order of K, and the grid (RAS+).

    Raises:
        GeometryError: attributes or slices are missing; slices differ in size, spacing, direction, or belong to several
            images; or slices share a position, are unevenly spaced, or are shifted sideways.
    """
    _require_attributes(frames)
    _require_same("size in pixels", [(frame.rows, frame.columns) for frame in frames])
    _require_same("pixel spacing", [tuple(round(s, 4) for s in frame.spacing_mm or ()) for frame in frames])
    directions = _directions(frames)
    positions = np.array([frame.position_mm for frame in frames])
    normal = np.cross(directions[0], directions[1])
    order = np.argsort(positions @ normal, kind="stable")
    _require_single([frames[k] for k in order], positions[order] @ normal)
    if len(frames) < MINIMUM_SLICES:
        raise GeometryError(
            f"expected a volume of at least {MINIMUM_SLICES} slices, got {len(frames)}; give the folder of the series"
        )
    _require_one_image(frames)
    step = _regular_step(positions[order], normal)
    return tuple(frames[k] for k in order), _grid(frames[order[0]], directions, step, len(frames))


def _grid(first: DicomFrame, directions: Array, step: Array, slices: int) -> Geometry:
    row_mm, column_mm = first.spacing_mm or (0.0, 0.0)
    lps = np.eye(4)
    lps[:3, 0] = directions[0] * column_mm  # I counts columns: along a row
    lps[:3, 1] = directions[1] * row_mm
    lps[:3, 2] = step
    lps[:3, 3] = first.position_mm
    return require_head(Geometry((first.columns, first.rows, slices), np.diag([*LPS_TO_RAS, 1.0]) @ lps))


def _require_attributes(frames: Sequence[DicomFrame]) -> None:
    for name, keyword in (
        ("position_mm", "ImagePositionPatient"),
        ("orientation", "ImageOrientationPatient"),
        ("spacing_mm", "PixelSpacing"),
    ):
        missing = sum(getattr(frame, name) is None for frame in frames)
        if missing:
            raise GeometryError(
                f"expected {keyword} in every slice, {missing} of {len(frames)} have none; "
                "export the original series from the PACS"
            )
    if not all(min(frame.spacing_mm or (0.0,)) > 0 for frame in frames):
        raise GeometryError("expected a positive PixelSpacing, got 0 or less; export the original series")


def _require_same(what: str, values: Sequence[tuple[float, ...]]) -> None:
    kinds = Counter(values)
    if len(kinds) > 1:
        raise GeometryError(
            f"expected slices of one {what}, got {len(kinds)} different values; split the series by image type"
        )


def _directions(frames: Sequence[DicomFrame]) -> Array:
    """Return the directions of rows and columns, (2, 3), orthonormal."""
    cosines = np.array([frame.orientation for frame in frames]).reshape(-1, 2, 3)
    gram = cosines[0] @ cosines[0].T
    if np.abs(gram - np.eye(2)).max() > COSINE_TOLERANCE:
        raise GeometryError(
            "expected rows and columns at a right angle, got another ImageOrientationPatient; choose another series"
        )
    if np.abs(cosines - cosines[0]).max() > COSINE_TOLERANCE:
        raise GeometryError(
            "expected slices of one orientation, got mixed orientations (a localiser, or several stacks in one "
            "series); choose another series"
        )
    return np.asarray(cosines[0], dtype=np.float64)


def _require_single(frames: Sequence[DicomFrame], places: Array) -> None:
    """Make sure that there is one slice at each position; `frames` and `places` are sorted."""
    starts = np.flatnonzero(np.diff(places, prepend=-np.inf) > SAME_PLACE_MM)
    counts = np.diff([*starts, len(frames)])
    if counts.max() == 1:
        return
    if counts.min() == 1 or len(set(counts.tolist())) > 1:
        raise GeometryError(
            f"expected one slice at each position, got two or more at {int((counts > 1).sum())} of {len(starts)}; "
            "remove the copies or export the series again"
        )
    raise GeometryError(
        f"expected one slice at each position, got {counts.max()}: {_why_several(frames[: counts[0]])}; "
        "export each volume as a separate series"
    )


def _why_several(frames: Sequence[DicomFrame]) -> str:
    """Return the reason for several frames at one position."""

    def differ(name: str) -> bool:
        return len({getattr(frame, name) for frame in frames}) == len(frames) > 1

    if len({(frame.sop_uid, frame.number) for frame in frames}) < len(frames):
        return "the same files twice"
    reasons = {
        "echo_time_ms": "a multi-echo series",
        "b_value": "a diffusion series",
        "temporal": "a multi-phase (dynamic) series",
        "acquisition": "a multi-phase series of several acquisitions",
        "image_type": "several kinds of image (such as magnitude and phase)",
    }
    found = [words for name, words in reasons.items() if differ(name)]
    return found[0] if found else "several volumes that the header does not distinguish"


def _require_one_image(frames: Sequence[DicomFrame]) -> None:
    """Refuse slices of several images that fill one stack, because an export has kept one of two at each position."""
    components = {_components(frame) for frame in frames} - {""}
    echoes = [frame.echo_time_ms for frame in frames if frame.echo_time_ms]
    weightings = {frame.b_value for frame in frames if frame.b_value is not None}
    for what, is_mixed in (
        ("magnitude, phase, real or imaginary part", len(components) > 1),
        ("echo time", bool(echoes) and max(echoes) > (1 + ECHO_TOLERANCE) * min(echoes)),
        ("b-value", len(weightings) > 1),
    ):
        if is_mixed:
            raise GeometryError(
                f"expected slices of one image, got slices that differ in {what}; export each image as a separate "
                "series from the scanner"
            )


def _components(frame: DicomFrame) -> str:
    """Return the first letters of the parts that a frame shows; empty if the header states none."""
    return "".join(sorted({word[0].upper() for word in frame.image_type if _COMPONENT.fullmatch(word.upper())}))


def _regular_step(positions: Array, normal: Array) -> Array:
    """Return the vector from one slice to the next (LPS, mm); `positions` (K, 3) are sorted."""
    places = positions @ normal
    steps = np.diff(places)
    typical = float(np.median(steps))
    holes = [(k + 1, round(step / typical) - 1) for k, step in enumerate(steps) if step > 1.5 * typical]
    if holes:
        where, count = holes[0][0], sum(number for _, number in holes)
        raise GeometryError(
            f"expected slices every {typical:.4g} mm, got a gap after slice {where} of {len(positions)} by position; "
            f"about {count} slice{'s are' if count > 1 else ' is'} missing. Export the whole series again"
        )
    mean = (positions[-1] - positions[0]) / (len(positions) - 1)
    deviation = np.linalg.norm(positions - positions[0] - np.outer(np.arange(len(positions)), mean), axis=1)
    if deviation.max() > max(STEP_TOLERANCE * typical, SAME_PLACE_MM):
        raise GeometryError(
            f"expected evenly spaced slices, got steps of {steps.min():.4g} to {steps.max():.4g} mm; "
            "choose another series, because the model needs a regular grid"
        )
    sideways = float(np.linalg.norm(mean - (mean @ normal) * normal))
    if sideways > STEP_TOLERANCE * typical:
        raise GeometryError(
            f"expected slices stacked along their normal, got a sideways shift of {sideways:.3g} mm per slice "
            "(a tilted or sheared stack); choose another series"
        )
    return np.asarray(mean, dtype=np.float64)
