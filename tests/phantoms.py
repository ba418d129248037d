"""Synthetic heads that tests share: small, without any symmetry, on any grid, in any file format."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import nibabel as nib
import numpy as np
import SimpleITK as sitk  # noqa: N813 - the name that everybody gives it

from brain_edge.image.geometry import Geometry, axis_moves, is_orientation
from brain_edge.image.volume import Mask, Volume

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

SHAPE = (14, 17, 11)
ORIENTATIONS = sorted(
    "".join(letters) for letters in itertools.product("RLAPSI", repeat=3) if is_orientation("".join(letters))
)
OBLIQUE = np.array(
    [
        [-0.9, 0.15, -0.5, 81.0],
        [0.1, 1.05, 1.1, -97.5],
        [0.25, -0.3, 3.4, -42.25],
        [0.0, 0.0, 0.0, 1.0],
    ]
)
"""Anisotropic, tilted about every axis, and orthogonal only to about two degrees, as gantry tilt leaves it."""


def make_head(shape: Sequence[int] = SHAPE, dtype: Any = np.int16) -> np.ndarray:
    """A blob (I, J, K) with a ramp, 25 to 115 on zero: no flip or permutation of axes maps it to itself."""
    places = np.meshgrid(*(np.linspace(-1, 1, side) for side in shape), indexing="ij")
    distance = sum(((place - centre) / 0.8) ** 2 for place, centre in zip(places, (0.1, -0.15, 0.2), strict=True))
    ramp = 70 + 10 * places[0] + 15 * places[1] + 20 * places[2]
    return np.where(distance < 1, ramp, 0).astype(dtype)


def make_affine(orientation: str = "RAS", spacing_mm: Sequence[float] = (1.0, 1.25, 3.0)) -> np.ndarray:
    """An affine along the axes of the patient, its origin away from zero."""
    moves = axis_moves("RAS", orientation)
    affine = np.eye(4)
    affine[:3, :3] = 0
    for axis, ((world, flipped), step) in enumerate(zip(moves, spacing_mm, strict=True)):
        affine[world, axis] = -step if flipped else step
    affine[:3, 3] = (-31.5, 12.25, 7.0)
    return affine


def make_volume(affine: np.ndarray | None = None, header: Any = None) -> Volume:
    """A head as a Volume in memory."""
    geometry = Geometry(SHAPE, make_affine() if affine is None else affine)
    return Volume(make_head(dtype=np.float32), geometry, "head", header)


def make_mask(volume: Volume) -> Mask:
    """Labels 1 and 2 where the head of a volume is, without symmetry."""
    ramp = np.where(volume.voxels > np.median(volume.voxels[volume.voxels > 0]), 2, 1)
    return Mask(np.where(volume.voxels > 0, ramp, 0).astype(np.uint8), volume.geometry)


def make_nifti(
    voxels: np.ndarray | None = None,
    affine: np.ndarray | None = None,
    *,
    codes: tuple[int, int] = (1, 1),
    kind: Any = nib.Nifti1Image,
    endianness: str = "<",
) -> Any:
    """A nibabel image with both transforms set; `codes` are those of sform and qform."""
    voxels = make_head() if voxels is None else voxels
    affine = make_affine() if affine is None else affine
    header = kind.header_class(endianness=endianness)
    header.set_data_dtype(voxels.dtype)
    header.set_xyzt_units("mm")
    image = kind(voxels, affine, header)
    image.set_qform(affine, code=codes[1])
    image.set_sform(affine, code=codes[0])
    return image


def save_head(path: Path, voxels: np.ndarray | None = None, affine: np.ndarray | None = None, **how: Any) -> Path:
    """Write a head with nibabel; the arguments of `make_nifti`."""
    nib.save(make_nifti(voxels, affine, **how), path)
    return path


def save_with_fields(path: Path, voxels: np.ndarray | None = None, **fields: Any) -> Path:
    """Write an uncompressed NIfTI-1 whose header fields are set to whatever is given, right or wrong.

    `fields` are header field names; a pair (index, value) sets one element of an array field.
    """
    voxels = make_head() if voxels is None else voxels
    header = make_nifti(voxels).header.copy()
    header["vox_offset"], header["scl_slope"], header["scl_inter"] = 352, 1, 0
    for name, value in fields.items():
        if isinstance(value, tuple):
            header[name][value[0]] = value[1]
        else:
            header[name] = value
    path.write_bytes(header.binaryblock + b"\0\0\0\0" + voxels.tobytes(order="F"))
    return path


def to_sitk(array: np.ndarray, geometry: Geometry) -> sitk.Image:
    """A SimpleITK image (LPS, array axes K, J, I) of an array (I, J, K)."""
    image = sitk.GetImageFromArray(np.ascontiguousarray(array.T))
    spacing = np.array(geometry.spacing_mm)
    image.SetSpacing(spacing.tolist())
    image.SetOrigin((np.diag([-1.0, -1.0, 1.0]) @ geometry.affine[:3, 3]).tolist())
    image.SetDirection((np.diag([-1.0, -1.0, 1.0]) @ geometry.affine[:3, :3] / spacing).ravel().tolist())
    return image
