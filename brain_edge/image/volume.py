"""Data that the stages exchange: an image with its geometry, a study of several images, a label map."""

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
        voxels: finite intensities (I, J, K) float32 in scanner units, with scaling (`scl_slope`) applied; other types
            are converted.
        geometry: grid of the voxels in the world.
        name: name of the image in messages (a file name; never stored in a package).
        header: header (NIfTI) that is needed to write a mask for this file, or None.

    Raises:
        GeometryError: the shapes of voxels and grid differ.
        InputError: the image contains NaN or infinity, or the same value in every voxel.
    """

    voxels: FloatArray
    geometry: Geometry
    name: str = "volume"
    header: Any = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "voxels", np.asarray(self.voxels, dtype=np.float32))
        if self.voxels.shape != self.geometry.shape:
            raise GeometryError(
                f"{self.name}: expected voxels with the shape of the grid, {self.geometry.shape}, got "
                f"{self.voxels.shape}"
            )
        low, high = float(self.voxels.min()), float(self.voxels.max())
        if not (np.isfinite(low) and np.isfinite(high)):
            raise InputError(
                f"{self.name}: expected finite intensities, got NaN or infinity; "
                "find the program that wrote them before you replace them"
            )
        if low == high:
            raise InputError(f"{self.name}: expected an image, got {low:g} in every voxel (an empty volume)")


@dataclass(frozen=True, eq=False)
class Study:
    """The images of one patient at one visit, by sequence name; the image named `reference` gives the output grid."""

    volumes: Mapping[str, Volume]
    reference: str

    def __post_init__(self) -> None:
        if self.reference not in self.volumes:
            raise InputError(
                f"the study has no sequence {self.reference!r}; it has {', '.join(sorted(self.volumes)) or 'none'}"
            )

    @property
    def geometry(self) -> Geometry:
        """The grid of the reference sequence, on which outputs lie."""
        return self.volumes[self.reference].geometry

    @classmethod
    def of(cls, **volumes: Volume) -> Study:
        """Make a study from keyword arguments, such as `Study.of(T1=volume)`; the first gives the output grid."""
        return cls(volumes, next(iter(volumes)))


@dataclass(frozen=True, eq=False)
class Mask:
    """A label map on a grid: uint8 (I, J, K), 0 is background.

    Raises:
        GeometryError: the shapes of labels and grid differ.
        InputError: the labels are not uint8.
    """

    labels: LabelArray
    geometry: Geometry

    def __post_init__(self) -> None:
        if self.labels.dtype != np.uint8:
            raise InputError(f"expected labels as uint8, got {self.labels.dtype}; convert the labels first")
        if self.labels.shape != self.geometry.shape:
            raise GeometryError(
                f"expected labels with the shape of the grid, {self.geometry.shape}, got {self.labels.shape}"
            )

    def volume_ml(self, label: int) -> float:
        """Return the volume of one label in millilitres."""
        return float(np.count_nonzero(self.labels == label)) * self.geometry.voxel_volume_ml
