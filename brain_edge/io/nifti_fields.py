"""Fields of a NIfTI-1 or NIfTI-2 header, by the names of nifti1.h and nifti2.h.

nibabel reads the same fields, but its import takes longer than that of numpy and OpenVINO together
(docs/decisions/0048). The arithmetic is nibabel's to the last bit; the tests compare both.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from brain_edge.image.geometry import Affine

Record: TypeAlias = np.ndarray[tuple[int, ...], np.dtype[Any]]

_QUATERNION: Final = ("quatern_b", "quatern_c", "quatern_d")
_OFFSETS: Final = ("qoffset_x", "qoffset_y", "qoffset_z")
_ROWS: Final = ("srow_x", "srow_y", "srow_z")


def _layout(text: str) -> np.dtype[Any]:
    """Return the little-endian record of pairs `name type`, where `8f4` stands for eight numbers."""
    words = text.split()
    return np.dtype(list(zip(words[::2], words[1::2], strict=True))).newbyteorder("<")


NIFTI_1: Final = _layout(
    "sizeof_hdr i4 data_type S10 db_name S18 extents i4 session_error i2 regular S1 dim_info u1 dim 8i2 intent_p1 f4 "
    "intent_p2 f4 intent_p3 f4 intent_code i2 datatype i2 bitpix i2 slice_start i2 pixdim 8f4 vox_offset f4 "
    "scl_slope f4 scl_inter f4 slice_end i2 slice_code u1 xyzt_units u1 cal_max f4 cal_min f4 slice_duration f4 "
    "toffset f4 glmax i4 glmin i4 descrip S80 aux_file S24 qform_code i2 sform_code i2 quatern_b f4 quatern_c f4 "
    "quatern_d f4 qoffset_x f4 qoffset_y f4 qoffset_z f4 srow_x 4f4 srow_y 4f4 srow_z 4f4 intent_name S16 magic S4"
)
NIFTI_2: Final = _layout(
    "sizeof_hdr i4 magic S4 eol_check 4i1 datatype i2 bitpix i2 dim 8i8 intent_p1 f8 intent_p2 f8 intent_p3 f8 "
    "pixdim 8f8 vox_offset i8 scl_slope f8 scl_inter f8 cal_max f8 cal_min f8 slice_duration f8 toffset f8 "
    "slice_start i8 slice_end i8 descrip S80 aux_file S24 qform_code i4 sform_code i4 quatern_b f8 quatern_c f8 "
    "quatern_d f8 qoffset_x f8 qoffset_y f8 qoffset_z f8 srow_x 4f8 srow_y 4f8 srow_z 4f8 slice_code i4 "
    "xyzt_units i4 intent_code i4 intent_name S16 dim_info u1 unused_str S15"
)
_STARTS: Final[Mapping[np.dtype[Any], Mapping[str, Any]]] = {
    NIFTI_1: {"sizeof_hdr": 348, "magic": b"n+1"},
    NIFTI_2: {"sizeof_hdr": 540, "magic": b"n+2", "eol_check": (13, 10, 26, 10)},
}
"""Fields of a new header that are not 0."""
_THRESHOLDS: Final[Mapping[np.dtype[Any], float]] = {
    NIFTI_1: float(np.finfo(np.float32).eps * 3),
    NIFTI_2: -float(np.finfo(np.float64).eps * 3),
}
"""nibabel's distance of a quaternion's length from 1 that is rounding; it writes the second with this sign."""

VOXEL_TYPES: Final[Mapping[int, str]] = {
    2: "u1",
    4: "i2",
    8: "i4",
    16: "f4",
    64: "f8",
    256: "i1",
    512: "u2",
    768: "u4",
    1024: "i8",
    1280: "u8",
    **({1536: "f16"} if np.finfo(np.longdouble).nmant == 112 else {}),
}
"""Voxel types of one real number, by code."""
OTHER_TYPES: Final[Mapping[int, str]] = {
    0: "none",
    1: "binary",
    32: "complex64",
    128: "RGB",
    255: "all",
    1536: "float128",
    1792: "complex128",
    2048: "complex256",
    2304: "RGBA",
}
"""Names of the other voxel types."""


@dataclass(frozen=True, eq=False)
class NiftiFields:
    """Fields of a header, read and set by name as `fields["pixdim"]`.

    Attributes:
        record: the header as one record of NumPy, in the byte order of its file.
    """

    record: Record

    @classmethod
    def parsed(cls, block: bytes, byte_order: str) -> NiftiFields:
        """Return the fields of a header's 348 or 540 bytes; the byte order is `<` or `>`."""
        layout = (NIFTI_1 if len(block) == NIFTI_1.itemsize else NIFTI_2).newbyteorder(byte_order)  # type: ignore[arg-type]
        return cls(np.ndarray((), layout, bytearray(block)))

    @classmethod
    def new(cls, like: NiftiFields, shape: Sequence[int], voxel_type: np.dtype[Any]) -> NiftiFields:
        """Return a little-endian header of the same version for voxels of a shape and a type, without a grid."""
        layout = next(each for each in _STARTS if each.itemsize == like.record.dtype.itemsize)
        fields = cls(np.zeros((), layout))
        for name, value in _STARTS[layout].items():
            fields[name] = value
        fields["dim"], fields["pixdim"] = (len(shape), *shape, *[1] * (7 - len(shape))), 1
        fields["datatype"] = next(code for code, kind in VOXEL_TYPES.items() if np.dtype(kind) == voxel_type)
        fields["bitpix"] = voxel_type.itemsize * 8
        return fields

    def __getitem__(self, name: str) -> Any:
        return self.record[name]

    def __setitem__(self, name: str, value: Any) -> None:
        self.record[name] = value

    @property
    def binaryblock(self) -> bytes:
        """Bytes of the header."""
        return self.record.tobytes()

    @property
    def quaternion_threshold(self) -> float:
        """Distance of a quaternion's squared length from 1 that is rounding."""
        return next(value for layout, value in _THRESHOLDS.items() if layout.itemsize == self.record.dtype.itemsize)

    def get_data_dtype(self) -> np.dtype[Any]:
        """Return the type of a voxel, in the byte order of the header.

        Raises:
            KeyError: a voxel is not one real number.
        """
        order = ">" if self.record.dtype["dim"].base.byteorder == ">" else "<"
        return np.dtype(VOXEL_TYPES[int(self["datatype"])]).newbyteorder(order)  # type: ignore[arg-type]

    def get_sform(self) -> Affine:
        """Return the affine of the rows (4, 4)."""
        return np.array([*(self[row] for row in _ROWS), (0, 0, 0, 1)], dtype=np.float64)

    def get_qform(self) -> Affine:
        """Return the affine (4, 4) of quaternion, spacing and offset.

        Raises:
            ValueError: the spacing is negative, the fourth number of the quaternion is imaginary, or `pixdim[0]` is
                neither 1 nor -1.
        """
        rotation = _rotation(_quaternion([self[name] for name in _QUATERNION], self.quaternion_threshold))
        sides, handedness = self["pixdim"][1:4].copy(), self["pixdim"][0]
        if np.any(sides < 0):
            msg = "pixdims[1,2,3] should be positive"
            raise ValueError(msg)
        if handedness not in (-1, 1):
            msg = "qfac (pixdim[0]) should be 1 or -1"
            raise ValueError(msg)
        sides[-1] *= handedness
        affine = np.eye(4)
        affine[:3, :3] = np.dot(rotation, np.diag(sides))
        affine[:3, 3] = [self[name] for name in _OFFSETS]
        return affine


def _quaternion(vector: Sequence[float], threshold: float) -> Record:
    """Return the unit quaternion (w, x, y, z) with this vector, in the longest float: 1 - |v|^2 may be almost 0."""
    xyz = np.asarray(vector, dtype=np.longdouble)
    squared = 1.0 - xyz @ xyz
    if np.abs(squared) < np.abs(threshold):
        return np.array([0, *xyz])
    if squared < 0:
        msg = f"w2 should be positive, but is {squared:e}"
        raise ValueError(msg)
    return np.array([np.sqrt(squared), *xyz])


def _rotation(quaternion: Record) -> Record:
    """Return the rotation (3, 3) of a quaternion, which needs no length of 1."""
    w, x, y, z = quaternion
    length = w * w + x * x + y * y + z * z
    if length < np.finfo(float).eps:
        return np.eye(3)
    twice = 2.0 / length
    a, b, c = x * twice, y * twice, z * twice
    return np.array(
        [
            [1.0 - (y * b + z * c), x * b - w * c, x * c + w * b],
            [x * b + w * c, 1.0 - (x * a + z * c), y * c - w * a],
            [x * c - w * b, y * c + w * a, 1.0 - (x * a + y * b)],
        ]
    )
