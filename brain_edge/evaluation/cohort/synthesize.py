"""Synthetic heads from label maps, for sites that may not share images: real anatomy, drawn contrast.

Each tissue draws its own intensity, independent of what a scanner would measure, as in SynthSeg (Billot et al. 2023).
The following steps model physics: voxels average over tissues, coils have an uneven sensitivity, the receiver adds
noise, and slices are thick. Calibration sees contrasts that no real cohort has; their cost must be measured on real
heads.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import numpy as np

from brain_edge.errors import InputError, UsageError
from brain_edge.image.geometry import Geometry
from brain_edge.image.volume import Mask, Volume

if TYPE_CHECKING:
    from brain_edge.image.volume import FloatArray

Range: TypeAlias = tuple[float, float]
Random: TypeAlias = np.random.Generator

INTENSITIES: Final[Range] = (0.1, 1.0)
"""Mean intensity of a tissue; air is 0."""
TEXTURE: Final[Range] = (0.01, 0.08)
"""Standard deviation within a tissue, as a share of full scale."""
BIAS: Final[Range] = (0.0, 0.3)
"""Largest logarithm of the coil's factor: BrainWeb's strongest field is 0.2."""
BIAS_NODES: Final = 4
"""Control points of the field per side: smooth over a head."""
BLUR_VOXELS: Final[Range] = (0.3, 1.0)
"""Standard deviation of the point spread function in voxels."""
NOISE: Final[Range] = (0.0, 0.05)
"""Standard deviation of the noise of each receiver channel, as a share of full scale."""
THICKNESS: Final = (1, 1, 2, 3)
"""Numbers of label map voxels that one slice averages, drawn with equal chance: half of the heads are isotropic."""
FULL_SCALE: Final = np.float32(1000.0)
THICKEST_SHELL_MM: Final = 40.0
HALF: Final = 0.5


@dataclass(frozen=True)
class Synthesis:
    """Options for making a head from a label map.

    Attributes:
        seed: seed of all random numbers.
        shell_mm: thickness in mm of skull and scalp around a label map of the brain alone; 0 for maps of the whole
            head.
        merge: True for a reference mask with label 1 for every tissue (the brain); False for the values of the label
            map.

    Raises:
        UsageError: the seed is negative, or the shell is out of range.
    """

    seed: int
    shell_mm: float = 12.0
    merge: bool = False

    def __post_init__(self) -> None:
        if self.seed < 0:
            raise UsageError(f"expected a seed of 0 or more, got {self.seed}")
        if not 0 <= self.shell_mm <= THICKEST_SHELL_MM:
            raise UsageError(f"expected a shell of 0 to {THICKEST_SHELL_MM:g} mm, got {self.shell_mm:g}")


def synthesize(tissues: Mask, synthesis: Synthesis) -> tuple[Volume, Mask]:
    """Make an image of a real anatomy, and its reference mask on the same grid, which may be coarser than the map's.

    Args:
        tissues: labels (I, J, K) of tissues; 0 is not segmented.
        synthesis: seed, shell and labels of the reference mask.

    Raises:
        InputError: the label map is empty.
    """
    if not tissues.labels.any():
        raise InputError("expected tissues in the label map, got 0 in every voxel; give another label map")
    random = np.random.Generator(np.random.PCG64(synthesis.seed))
    labels = _flipped(_with_shell(tissues, synthesis.shell_mm), tissues.geometry, random)
    image = _painted(labels, random) * _bias(labels.shape, random)
    image, labels, geometry = _sliced(_blurred(image, random), labels, tissues.geometry, random)
    # skull and scalp have the two highest values, and are not in the reference mask
    labels = np.where(labels <= tissues.labels.max(), labels, 0)
    reference = labels > 0 if synthesis.merge else labels
    volume = Volume(FULL_SCALE * _received(image, random), geometry, f"synthetic {synthesis.seed}")
    return volume, Mask(np.ascontiguousarray(reference, dtype=np.uint8), geometry)


def _with_shell(tissues: Mask, shell_mm: float) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Return the labels with skull and scalp added around a map of the brain alone, as two values above all others."""
    from scipy.ndimage import distance_transform_edt

    labels = tissues.labels.astype(np.int64)
    if shell_mm == 0:
        return labels
    distance_mm = distance_transform_edt(labels == 0, sampling=tissues.geometry.spacing_mm)
    skull, scalp = int(labels.max()) + 1, int(labels.max()) + 2
    labels[(distance_mm > 0) & (distance_mm <= shell_mm / 2)] = skull
    labels[(distance_mm > shell_mm / 2) & (distance_mm <= shell_mm)] = scalp
    return labels


def _flipped(labels: np.ndarray[Any, Any], geometry: Geometry, random: Random) -> np.ndarray[Any, Any]:
    """Mirror half of the heads left to right, along the axis that is closest to it."""
    if random.random() < HALF:
        return labels
    axis = next(axis for axis, letter in enumerate(geometry.orientation) if letter in "LR")
    return np.ascontiguousarray(np.flip(labels, axis=axis))


def _painted(labels: np.ndarray[Any, Any], random: Random) -> FloatArray:
    """Return an image in which each tissue has its own intensity and texture; air stays 0."""
    count = int(labels.max()) + 1
    means = random.uniform(*INTENSITIES, count)
    spreads = random.uniform(*TEXTURE, count)
    means[0] = spreads[0] = 0.0
    painted = means[labels] + spreads[labels] * random.standard_normal(labels.shape)
    return np.asarray(np.clip(painted, 0, None), dtype=np.float32)


def _bias(shape: tuple[int, ...], random: Random) -> FloatArray:
    """Return a smooth positive factor: cubic interpolation of its logarithm between a few control points."""
    from scipy.ndimage import zoom

    nodes = random.uniform(-1, 1, (BIAS_NODES,) * 3) * random.uniform(*BIAS)
    matrices = [zoom(np.eye(BIAS_NODES), (side / BIAS_NODES, 1), order=3, mode="nearest") for side in shape]
    logarithm = np.einsum("abc,ia,jb,kc->ijk", nodes, *matrices, optimize=True)
    return np.asarray(np.exp(logarithm), dtype=np.float32)


def _blurred(image: FloatArray, random: Random) -> FloatArray:
    from scipy.ndimage import gaussian_filter

    return np.asarray(gaussian_filter(image, random.uniform(*BLUR_VOXELS)), dtype=np.float32)


def _sliced(
    image: FloatArray, labels: np.ndarray[Any, Any], geometry: Geometry, random: Random
) -> tuple[FloatArray, np.ndarray[Any, Any], Geometry]:
    """Make slices of several voxels along one axis: intensities are averaged, and the middle label is kept."""
    thickness, axis = int(random.choice(THICKNESS)), int(random.integers(3))
    if thickness == 1:
        return image, labels, geometry
    side = image.shape[axis] // thickness * thickness
    parts = [np.take(image, range(first, side, thickness), axis=axis) for first in range(thickness)]
    labels = np.take(labels, range(thickness // 2, side, thickness), axis=axis)
    return np.mean(parts, axis=0, dtype=np.float32), labels, _thicker(geometry, labels.shape, axis, thickness)


def _thicker(geometry: Geometry, shape: tuple[int, ...], axis: int, thickness: int) -> Geometry:
    """Return the grid of the slices: a voxel centre lies in the middle of the voxels that it averages."""
    affine = geometry.affine.copy()
    affine[:3, 3] += affine[:3, axis] * (thickness - 1) / 2
    affine[:3, axis] *= thickness
    i, j, k = (int(side) for side in shape)
    return Geometry((i, j, k), affine)


def _received(image: FloatArray, random: Random) -> FloatArray:
    """Return the magnitude of a complex signal with Gaussian noise in both channels (Gudbjartsson and Patz 1995)."""
    sigma = random.uniform(*NOISE)
    real, imaginary = (sigma * random.standard_normal(image.shape) for _ in range(2))
    return np.asarray(np.hypot(image + real, imaginary), dtype=np.float32)
