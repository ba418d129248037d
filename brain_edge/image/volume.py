"""What travels between the stages: an image with its place in the world, a study of several, a label map."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from brain_edge.errors import GeometryError, InputError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from brain_edge.image.geometry import Geometry

FloatArray: TypeAlias = np.ndarray[tuple[int, ...], np.dtype[np.float32]]
LabelArray: TypeAlias = np.ndarray[tuple[int, ...], np.dtype[np.uint8]]


@dataclass(frozen=True, eq=False)
class Volume:
    """One image of one sequence.

    Attributes:
        voxels: float32 (I, J, K) in the units of the scanner, scaling (`scl_slope`) applied; finite. Another
            type is converted.
        geometry: the grid of the voxels in the world.
        name: what messages call it (a file name; never shown in a package).
        header: what the reader needs to write a mask that belongs to this file (a NIfTI header), or None.

    Raises:
        GeometryError: voxels and grid have different shapes.
        InputError: the image holds NaN or infinity, or the same value everywhere.
    """

    voxels: FloatArray
    geometry: Geometry
    name: str = "volume"
    header: Any = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "voxels", np.asarray(self.voxels, dtype=np.float32))
        if self.voxels.shape != self.geometry.shape:
            raise GeometryError(
                f"{self.name}: voxels have the shape {self.voxels.shape}, the grid {self.geometry.shape}"
            )
        low, high = float(self.voxels.min()), float(self.voxels.max())
        if not (np.isfinite(low) and np.isfinite(high)):
            raise InputError(
                f"{self.name}: expected finite intensities, got NaN or infinity; "
                "find out which step wrote them before you replace them"
            )
        if low == high:
            raise InputError(f"{self.name}: expected an image, got {low:g} in every voxel (an empty volume)")


@dataclass(frozen=True, eq=False)
class Study:
    """The images of one patient at one visit, by sequence name, and which of them gives the output grid."""

    volumes: Mapping[str, Volume]
    reference: str

    def __post_init__(self) -> None:
        if self.reference not in self.volumes:
            raise InputError(
                f"the study has no sequence {self.reference!r}; it has {', '.join(sorted(self.volumes)) or 'none'}"
            )

    @property
    def geometry(self) -> Geometry:
        """The grid of the reference sequence: outputs lie on it."""
        return self.volumes[self.reference].geometry

    @classmethod
    def of(cls, **volumes: Volume) -> Study:
        """A study from keyword arguments, the first of which gives the output grid: `Study.of(T1=volume)`."""
        return cls(volumes, next(iter(volumes)))


@dataclass(frozen=True, eq=False)
class Mask:
    """A label map on a grid: uint8 (I, J, K), 0 is background.

    Raises:
        GeometryError: labels and grid have different shapes.
        InputError: the labels are not uint8.
    """

    labels: LabelArray
    geometry: Geometry

    def __post_init__(self) -> None:
        if self.labels.dtype != np.uint8:
            raise InputError(f"expected labels as uint8, got {self.labels.dtype}; decide them before making a mask")
        if self.labels.shape != self.geometry.shape:
            raise GeometryError(f"labels have the shape {self.labels.shape}, the grid {self.geometry.shape}")

    def volume_ml(self, label: int) -> float:
        """Volume of one label in millilitres."""
        return float(np.count_nonzero(self.labels == label)) * self.geometry.voxel_volume_ml
