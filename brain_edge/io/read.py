"""One image, whatever its format."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

from brain_edge.io.inputs import series_of
from brain_edge.io.nifti import read_volume

if TYPE_CHECKING:
    from brain_edge.image.volume import Volume

IMAGE: Final = "image"
"""Stands in for the name of a sequence, which a single image has none of."""


def read(path: Path | str, series: str | None = None) -> Volume:
    """Read one image: NIfTI, MGH or a DICOM series.

    Args:
        path: file (`.nii`, `.nii.gz`, `.mgz`, `.mgh`), or folder, zip or file of DICOM, which needs the extra `dicom`.
        series: UID or contrast (T1w, T1C, T2w, FLAIR, ...) of a DICOM series; needed where there are several.

    Returns:
        The image: float32 voxels (I, J, K), scaling applied, and their grid in RAS+ mm.

    Raises:
        InputError: no such file, not such an image, truncated, empty, or a choice of series that fits none or several.
        GeometryError: the grid is missing, contradictory or singular.
        UsageError: a series is named, and the input is not DICOM.
        MissingExtraError: the input is DICOM, and pydicom is not installed.

    Examples:
        >>> import brain_edge
        >>> head = brain_edge.read("head.nii.gz")
        >>> head.geometry.spacing_mm
        >>> head = brain_edge.read("study", series="T1w")
    """
    choices = {} if series is None else {IMAGE: series}
    found = series_of({IMAGE: Path(path)}, choices, {})
    if not found:
        return read_volume(path)
    from brain_edge.io.dicom import read_series

    return read_series(found[IMAGE])
