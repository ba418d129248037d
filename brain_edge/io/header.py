"""Header of an image file: voxel type, scaling, and one consistent grid.

Only this module imports nibabel: for MGH, and for a NIfTI on a grid that no NIfTI stated.

A NIfTI header states the grid up to three times (sform, qform, pixdim), and programs choose differently. If sform and
qform are mirrored, nibabel and ITK can disagree on left and right (ITK can choose the qform if the sform's code is not
1). If pixdim and sform have different spacings, ITK uses pixdim and nibabel the sform. Such files are refused. If the
transforms differ only in the position of the head in the world, the sform is used, as nibabel does; outputs keep both.
Messages do not name the file: the caller that opened the file adds its name.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import numpy as np

from brain_edge.errors import GeometryError, InputError
from brain_edge.image.geometry import Geometry, require_head
from brain_edge.io.nifti_fields import OTHER_TYPES, VOXEL_TYPES, NiftiFields

if TYPE_CHECKING:
    from collections.abc import Sequence

    from brain_edge.image.geometry import Affine, Shape

VoxelType: TypeAlias = np.dtype[Any]

HEADER_BYTES: Final = 540
"""Bytes of a file that `parse_header` needs: the longest header (NIfTI-2)."""

POINTERS: Final = {"git-annex": b"/annex/objects/", "Git LFS": b"version https://git-lfs"}
"""First bytes of the text that stands in a repository for an image that was not fetched."""
FETCHES: Final = "datalad get, git annex get or git lfs pull"

SPACING_TOLERANCE: Final = 0.01
"""Largest relative difference of two statements of a spacing that an exporter's rounding explains."""

QUATERNION_EXCESS: Final = 1e-5
"""Largest excess of the squared length of a quaternion over 1 that the rounding of a writer explains."""

MIRROR_COSINE: Final = 0.7
"""Smallest cosine between the directions of sform and qform at which they agree: within 45 degrees."""

_MGH_BYTES: Final = 284
_MGH_GOOD_RAS: Final = slice(28, 30)
_OTHER_MGH_TYPES: Final = {
    2: "64-bit integers",
    5: "bits",
    6: "tensors",
    7: "complex numbers",
    8: "complex numbers",
} | {9: "colours"}
"""Voxel types of FreeSurfer's mri.h without one real number that nibabel reads."""
_UNKNOWN_UNIT: Final = 0
_MILLIMETRES: Final = 2
_OTHER_UNITS: Final = {1: "metres", 3: "micrometres"}

_QUATERNION: Final = ("quatern_b", "quatern_c", "quatern_d")
_GRID_FIELDS: Final = (
    "qform_code",
    "sform_code",
    *(*_QUATERNION, "qoffset_x", "qoffset_y", "qoffset_z"),
    *("srow_x", "srow_y", "srow_z"),
    "xyzt_units",
)


@dataclass(frozen=True, eq=False)
class ImageHeader:
    """A header that has been checked.

    Attributes:
        geometry: grid, RAS+ mm.
        dtype: data type of a voxel in the file, including byte order.
        offset: offset of the first voxel in bytes.
        slope, inter: intensity = voxel * slope + inter, in scanner units.
        fields: fields of a NIfTI, or nibabel's header of an MGH.
    """

    geometry: Geometry
    dtype: VoxelType
    offset: int
    slope: float
    inter: float
    fields: Any

    @property
    def is_scaled(self) -> bool:
        """True if the voxels in the file must be scaled to intensities."""
        return (self.slope, self.inter) != (1.0, 0.0)

    @property
    def voxel_bytes(self) -> int:
        """Size of all voxels in the file in bytes."""
        return math.prod(self.geometry.shape) * self.dtype.itemsize


def parse_header(block: bytes, name: str = "") -> ImageHeader:
    """Read the header of a NIfTI-1, NIfTI-2 or MGH file from its first `HEADER_BYTES` (uncompressed) bytes.

    The content decides the format. The name of the file serves the message about another format alone.

    Raises:
        InputError: the file has another format, is damaged, or has several volumes, a single slice, or complex or
            colour voxels.
        GeometryError: the grid is missing, contradictory, singular, not in millimetres, or not that of a head.
    """
    if len(block) >= 348 and block[344:348] == b"n+1\0":
        return _parse_nifti(block[:348])
    if len(block) >= 540 and block[4:12] == b"n+2\0\r\n\x1a\n":
        return _parse_nifti(block[:540])
    if len(block) >= _MGH_BYTES and block[:4] == b"\0\0\0\1":
        return _parse_mgh(block[:_MGH_BYTES])
    raise InputError(f"expected a NIfTI (.nii, .nii.gz) or FreeSurfer (.mgz, .mgh) image, got {_describe(block, name)}")


def _describe(block: bytes, name: str) -> str:
    if pointer := next((kind for kind, start in POINTERS.items() if block.startswith(start)), None):
        return f"a pointer of {pointer} in place of the image; fetch the content ({FETCHES})"
    if block[:4] == b"PK\3\4":
        return "a zip; unpack it"
    if block[128:132] == b"DICM":
        return "a DICOM file; give the folder of its series, or convert it with dcm2niix"
    is_whole = len(block) >= 348
    is_header = is_whole and (block[344:348] == b"ni1\0" or block[:4] in (b"\x5c\1\0\0", b"\0\0\1\x5c"))
    if is_header or name.lower().endswith((".img", ".img.gz")):
        return "one file of a .hdr/.img pair (Analyze or NIfTI); save the pair as one .nii file"
    return f"a file that begins with {block[:8]!r}; export or convert the image again"


def _parse_nifti(block: bytes) -> ImageHeader:
    fields = NiftiFields.parsed(block, _byte_order(block))
    count, start = int(fields["dim"][0]), float(fields["vox_offset"])
    if not 1 <= count <= 7:
        raise _damaged(f"it states {count} dimensions")
    if not (math.isfinite(start) and start >= len(block) + 4):
        raise _damaged(f"voxels start at byte {start:g}")
    shape = _volume_shape([int(side) for side in fields["dim"][1 : 1 + count]])
    dtype = _nifti_dtype(fields)
    slope, inter = float(fields["scl_slope"]), float(fields["scl_inter"])
    if slope == 0 or math.isnan(slope):  # no scaling, as the standard and nibabel write it
        slope, inter = 1.0, 0.0
    if not (math.isfinite(slope) and math.isfinite(inter)):
        raise _damaged(f"scl_slope is {slope}, scl_inter is {inter}")
    return ImageHeader(require_head(_nifti_geometry(fields, shape)), dtype, int(start), slope, inter, fields)


def _parse_mgh(block: bytes) -> ImageHeader:
    from nibabel.freesurfer.mghformat import MGHHeader

    if not any(block[_MGH_GOOD_RAS]):
        raise _no_orientation("goodRASFlag is 0", "mri_convert --in_orientation")
    fields = MGHHeader(block, check=False)
    if name := _OTHER_MGH_TYPES.get(int(fields["type"])):
        raise InputError(f"expected one real number per voxel, got MGH voxels of {name}; convert them (mri_convert)")
    try:
        dtype = fields.get_data_dtype()
    except KeyError as error:
        raise _damaged(f"voxels of type {error}") from error
    shape = _volume_shape([int(side) for side in fields["dims"]])
    with np.errstate(all="ignore"):  # overflow and NaN are refused later, as a geometry
        affine = fields.get_affine()
    return ImageHeader(require_head(_geometry(shape, affine)), dtype, _MGH_BYTES, 1.0, 0.0, fields)


def _damaged(what: str) -> InputError:
    return InputError(f"the header is damaged ({what}); export the image again")


def _byte_order(block: bytes) -> str:
    if int.from_bytes(block[:4], "little") == len(block):
        return "<"
    if int.from_bytes(block[:4], "big") == len(block):
        return ">"
    raise _damaged("it does not state its own length")


def _volume_shape(sides: Sequence[int]) -> Shape:
    """Return the three spatial sides; further dimensions must have length 1."""
    text = " x ".join(map(str, sides))
    if min(sides) < 1:
        raise _damaged(f"it states {text} voxels")
    if len(sides) > 3 and sides[0] == 1 and min(sides[1:4]) > 1:
        raise InputError(f"expected a volume, got a first axis of one ({text} voxels); save the image without it")
    if len(sides) < 3 or min(sides[:3]) == 1:
        raise InputError(f"expected a volume, got a single slice of {text} voxels; give the whole series")
    volumes = math.prod(sides[3:])
    if volumes > 1:
        raise InputError(
            f"expected one volume, got {volumes} in one file ({text}); save one volume as a separate file "
            "(fslroi, fslsplit, or nibabel.four_to_three)"
        )
    return (sides[0], sides[1], sides[2])


def _nifti_dtype(fields: NiftiFields) -> VoxelType:
    code = int(fields["datatype"])
    if code in VOXEL_TYPES:
        return fields.get_data_dtype()
    if code not in OTHER_TYPES:
        raise _damaged(f"voxels of type {code}")
    raise InputError(
        f"expected one real number per voxel, got the NIfTI data type {OTHER_TYPES[code]}; "
        "save the magnitude or one channel"
    )


def _nifti_geometry(fields: NiftiFields, shape: Shape) -> Geometry:
    unit = int(fields["xyzt_units"]) & 7
    if unit not in (_UNKNOWN_UNIT, _MILLIMETRES):
        raise GeometryError(
            f"expected millimetres, got a header in {_OTHER_UNITS.get(unit, f'units of code {unit}')} "
            "(xyzt_units), which programs interpret differently; convert the header to millimetres"
        )
    if fields["pixdim"][0] == 0:
        fields["pixdim"][0] = 1  # nifti1.h, method 2: a qfac of 0 means 1
    with np.errstate(invalid="ignore"):  # a signalling NaN is refused later, as a geometry
        qform = _geometry(shape, _qform(fields)) if fields["qform_code"] > 0 else None
        sform = _geometry(shape, fields.get_sform()) if fields["sform_code"] > 0 else None
    if sform is not None:
        _refuse_other_spacing(sform, fields["pixdim"][1:4])
    if sform is not None and qform is not None:
        _refuse_mirrored(sform, qform)
    chosen = sform or qform
    if chosen is None:
        raise _no_orientation("sform_code and qform_code are 0", "fslorient -setsform and -setsformcode")
    return chosen


def _qform(fields: NiftiFields) -> Affine:
    _normalise(fields)
    try:
        return fields.get_qform()
    except ValueError as error:
        raise GeometryError(f"the qform is damaged ({error}); export the image again") from error


def _normalise(fields: NiftiFields) -> None:
    """Normalise a quaternion that is rounded past 1, as the reference code of nifti1.h does, also for the outputs."""
    quaternion = np.array([fields[name] for name in _QUATERNION], dtype=np.float64)
    squared = float(np.sum(quaternion**2))
    # a number of float32 would make one of the huge squares of a damaged header overflow
    if fields.quaternion_threshold < squared - 1 <= QUATERNION_EXCESS:
        for name, part in zip(_QUATERNION, quaternion / math.sqrt(squared), strict=True):
            fields[name] = part


def _geometry(shape: Shape, affine: Affine) -> Geometry:
    try:
        return Geometry(shape, affine)
    except GeometryError as error:
        raise GeometryError(f"{error}; export the image again") from error


def _refuse_other_spacing(sform: Geometry, pixdim: Any) -> None:
    if np.allclose(sform.spacing_mm, pixdim, rtol=SPACING_TOLERANCE, atol=0):
        return
    raise GeometryError(
        f"expected one spacing, got {_by(sform.spacing_mm)} mm from the sform and {_by(pixdim)} mm from pixdim. "
        "Find the correct spacing and write it into both, because programs use either"
    )


def _refuse_mirrored(sform: Geometry, qform: Geometry) -> None:
    cosines = np.sum(sform.affine[:3, :3] * qform.affine[:3, :3], axis=0)
    cosines /= np.array(sform.spacing_mm) * np.array(qform.spacing_mm)
    if cosines.min() >= MIRROR_COSINE:
        return
    raise GeometryError(
        f"expected one orientation, got {sform.orientation} from the sform and {qform.orientation} from the qform. "
        "Find the correct one and copy it over the other, because programs use either "
        "(fslorient -copysform2qform or -copyqform2sform)"
    )


def _no_orientation(why: str, how: str) -> GeometryError:
    return GeometryError(
        f"expected an orientation, got none ({why}): left and right are unknown; "
        f"export the series again (dcm2niix), or set the orientation if you know it for certain ({how})"
    )


def _by(sides: Sequence[float]) -> str:
    return " x ".join(f"{float(side):.4g}" for side in sides)


def fields_like(source: Any, geometry: Geometry, dtype: np.dtype[Any], channels: int | None = None) -> NiftiFields:
    """Make a new little-endian NIfTI header that copies only the grid of `source`.

    Args:
        source: header of the image, of this program or of nibabel. Both transforms get code 1 for None or another
            format.
        geometry: grid of the image.
        dtype: data type of a voxel.
        channels: length of a fourth axis; None for three axes.

    Raises:
        GeometryError: the header cannot hold the grid.
    """
    source = _stated_by(source) or _grid_fields(geometry)
    fields = NiftiFields.new(source, geometry.shape if channels is None else (*geometry.shape, channels), dtype)
    fields["vox_offset"] = len(fields.binaryblock) + 4
    fields["scl_slope"], fields["scl_inter"] = 1, 0
    fields["pixdim"][:4] = source["pixdim"][:4]
    for name in _GRID_FIELDS:
        fields[name] = source[name]
    affine = fields.get_sform() if fields["sform_code"] != 0 else fields.get_qform()
    require_same_grid(geometry, Geometry(geometry.shape, affine), "the volume and its NIfTI header")
    return fields


def _stated_by(source: Any) -> NiftiFields | None:
    """Return the fields of a NIfTI header; None if the source is no such header."""
    if isinstance(source, NiftiFields):
        return source
    return NiftiFields.parsed(source.binaryblock, source.endianness) if hasattr(source, "get_qform") else None


def _grid_fields(geometry: Geometry) -> NiftiFields:
    """Return a NIfTI-1 header that states a grid of its own, in millimetres."""
    from nibabel.nifti1 import Nifti1Header

    stated = Nifti1Header(endianness="<")
    stated.set_xyzt_units("mm")
    stated.set_qform(geometry.affine, code=1)  # also sets pixdim
    stated.set_sform(geometry.affine, code=1)
    return NiftiFields.parsed(stated.binaryblock, "<")


def require_same_grid(first: Geometry, second: Geometry, what: str) -> None:
    """Make sure that two grids are the same.

    Raises:
        GeometryError: the grids differ; `what` names their owners in the message.
    """
    if not first.same_grid(second):
        raise GeometryError(f"{what}: expected one grid, got {_in_short(first)} and {_in_short(second)}")


def _in_short(geometry: Geometry) -> str:
    origin = ", ".join(f"{place:.2f}" for place in geometry.affine[:3, 3])
    return f"{geometry}, from ({origin}) mm"
