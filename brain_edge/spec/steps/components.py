"""Clean-up of single labels: parts that are too small, too thin or too far from the rest get another label."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import msgspec
import numpy as np

from brain_edge.image.components import Connectivity, components
from brain_edge.spec.steps.decode import Plane, stacked_axis
from brain_edge.spec.steps.step import CleanStep, LabelValue

if TYPE_CHECKING:
    from brain_edge.image.geometry import Geometry
    from brain_edge.spec.steps.frame import Array, Frame

Foreground = Annotated[int, msgspec.Meta(ge=1, le=255)]
Labels = Annotated[tuple[Foreground, ...], msgspec.Meta(min_length=1)]
Voxels = Annotated[float, msgspec.Meta(ge=0.0)]
Millilitres = Annotated[float, msgspec.Meta(ge=0.0)]

BOTH_OR_NEITHER = "give the minimum size either in `voxels` or in `volume_ml`"


class MinimumVolume(CleanStep, frozen=True):
    """Replace some labels by another label if together they are smaller than a minimum size.

    Papers have rules for a small enhancing tumour. Fewer than 200 (DeepSeg + nnU-Net), 500 or 750 (five-model ensemble)
    voxels become necrosis. Fewer than 600 are removed from the region, so that they become core, also necrosis
    (residual U-Net with localisation). Voxels are those of the grid at this step. Those papers count voxels of 1 mm, so
    on other grids 600 voxels are 0.6 ml.

    Attributes:
        of: labels that are counted together.
        voxels: minimum number of voxels, or None.
        volume_ml: minimum volume in ml, or None.
        replacement: label that replaces them.
    """

    of: Labels
    voxels: Voxels | None = None
    volume_ml: Millilitres | None = None
    replacement: LabelValue = 0

    def __post_init__(self) -> None:
        _require_one_size(self.voxels, self.volume_ml)

    def apply(self, frame: Frame) -> Frame:
        """Check the (1, I, J, K) label map as a whole."""
        inside = among(frame.voxels[0], self.of)
        if np.count_nonzero(inside) >= least_voxels(self.voxels, self.volume_ml, frame.geometry):
            return frame
        return relabelled(frame, inside, self.replacement)


class RemoveSmallComponents(CleanStep, frozen=True):
    """Replace connected components of some labels by another label if they are smaller than a minimum size.

    Attributes:
        of: labels whose union is divided into components.
        voxels: minimum number of voxels of a component, or None.
        volume_ml: minimum volume of a component in ml, or None.
        replacement: label that replaces smaller components.
        connectivity: number of neighbours of a voxel (faces, edges or corners).
    """

    of: Labels
    voxels: Voxels | None = None
    volume_ml: Millilitres | None = None
    replacement: LabelValue = 0
    connectivity: Connectivity = 26

    def __post_init__(self) -> None:
        _require_one_size(self.voxels, self.volume_ml)

    def apply(self, frame: Frame) -> Frame:
        """Look at each component of the (1, I, J, K) label map."""
        numbers, _ = components(among(frame.voxels[0], self.of), self.connectivity)
        sizes = np.bincount(numbers.reshape(-1))
        is_small = sizes < least_voxels(self.voxels, self.volume_ml, frame.geometry)
        is_small[0] = False
        return relabelled(frame, is_small[numbers], self.replacement)


class KeepLargest(CleanStep, frozen=True):
    """Keep the largest connected component of the union of some labels; replace the rest by another label.

    It is used with one label if every class was a single component in training (multi-annotator nnU-Net).
    """

    of: Labels
    replacement: LabelValue = 0
    connectivity: Connectivity = 26

    def apply(self, frame: Frame) -> Frame:
        """Look at each component of the (1, I, J, K) label map."""
        numbers, _ = components(among(frame.voxels[0], self.of), self.connectivity)
        sizes = np.bincount(numbers.reshape(-1))
        is_smaller = np.arange(sizes.size) != sizes[1:].argmax() + 1 if sizes.size > 1 else np.zeros(1, dtype=bool)
        is_smaller[0] = False
        return relabelled(frame, is_smaller[numbers], self.replacement)


class ComponentExtent(CleanStep, frozen=True):
    """Keep the components of some labels that are large in their slices and extend over enough slices (TCuP-GAN).

    A component stays if its mean area in the slices that it touches exceeds `mean_area_above`, and it touches at least
    `minimum_slices` slices. Pixels and slices are those of the grid at this step. The paper does not state whether its
    values apply to its 256 x 256 network or to 1 mm.

    Attributes:
        of: labels whose union is divided into components.
        mean_area_above: mean area per slice in pixels that a component must exceed.
        minimum_slices: minimum number of slices that a component must touch.
        plane: plane of the slices.
        replacement: label that replaces the other components, which the paper does not state.
        connectivity: number of neighbours of a voxel (faces, edges or corners).
    """

    of: Labels
    mean_area_above: Annotated[float, msgspec.Meta(ge=0.0)]
    minimum_slices: Annotated[int, msgspec.Meta(ge=1)] = 5
    plane: Plane = "axial"
    replacement: LabelValue = 0
    connectivity: Connectivity = 26

    def apply(self, frame: Frame) -> Frame:
        """Look at each component of the (1, I, J, K) label map."""
        numbers, _ = components(among(frame.voxels[0], self.of), self.connectivity)
        sizes = np.bincount(numbers.reshape(-1))
        slices = _slices_touched(numbers, stacked_axis(self.plane, frame.geometry.orientation), sizes.size)
        is_thin = (sizes <= self.mean_area_above * slices) | (slices < self.minimum_slices)
        is_thin[0] = False
        return relabelled(frame, is_thin[numbers], self.replacement)


def among(labels: Array, values: tuple[int, ...]) -> Array:
    """Return True at the voxels of a label map (I, J, K) that have one of some values."""
    is_among = np.zeros(256, dtype=bool)
    is_among[list(values)] = True
    return np.asarray(is_among[labels])


def relabelled(frame: Frame, inside: Array, label: int) -> Frame:
    """Return the label map with one label wherever `inside` (I, J, K) is true."""
    return frame.with_voxels(np.where(inside, np.uint8(label), frame.voxels[0])[np.newaxis])


def least_voxels(voxels: float | None, volume_ml: float | None, geometry: Geometry) -> float:
    """Return a minimum size in voxels of a grid; rounding errors of a volume do not change whole numbers of voxels."""
    if voxels is not None:
        return voxels
    if volume_ml is None:
        raise AssertionError(BOTH_OR_NEITHER)
    return float(np.round(volume_ml / geometry.voxel_volume_ml, 4))


def _slices_touched(numbers: Array, axis: int, count: int) -> Array:
    """Return the number of slices along an axis that each component (and background, number 0) touches."""
    planes = np.moveaxis(numbers, axis, 0)
    touched = np.zeros(count, dtype=np.int64)
    for plane in planes:
        touched += np.bincount(plane.reshape(-1), minlength=count) > 0
    return touched


def _require_one_size(voxels: float | None, volume_ml: float | None) -> None:
    if (voxels is None) == (volume_ml is None):
        raise ValueError(BOTH_OR_NEITHER)
