"""Augmentation of one head to a small demonstration cohort, with changes that a scanner or another patient could cause.

The cases share one anatomy. The cohort can therefore show that quantisation works, but nothing about accuracy on other
heads. The order of the changes is physical: another position (flip, rotation), another tissue contrast (gamma), uneven
coils (bias field), receiver noise.

Random numbers are uniform numbers from numpy's PCG64, because numpy guarantees the stream of bits and they need the
fewest steps from it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import product
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

import numpy as np

from brain_edge.errors import GeometryError, InputError, UsageError
from brain_edge.image.volume import Mask

if TYPE_CHECKING:
    from brain_edge.image.geometry import Geometry, Vector
    from brain_edge.image.volume import FloatArray, Volume

Matrix: TypeAlias = np.ndarray[tuple[int, int], np.dtype[np.float64]]
Range: TypeAlias = tuple[float, float]

BIAS_FIELD_RANGE: Final[Range] = (0.0, 0.4)
"""Range of the bias field's strength. 0.2 is the strongest field that BrainWeb simulates ("40 % RF": factors of 0.8 to
1.2 over the brain at 1.5 T); 0.4 leaves room for stronger magnets, whose coils are less even."""
GAMMA_RANGE: Final[Range] = (0.7, 1.5)
"""Range of gamma in nnU-Net's training (Isensee et al. 2021): another protocol, recognisably the same sequence."""
NOISE_RANGE: Final[Range] = (0.0, 0.09)
"""Range of the noise. BrainWeb simulates up to 9 % of the brightest tissue; with more, a radiographer repeats the
scan."""
ROTATION_RANGE_DEG: Final[Range] = (-8.0, 8.0)
"""Range of rotations. A head between the pads of a coil tilts by a few degrees; with more it leaves the field of
view."""
ROBUST_PERCENT: Final = 99.5
"""Percentile of the voxels above zero that is scaled to 1, so that a single hot voxel does not set the scale."""
NEGATIVE_SHARE: Final = 0.01
"""Largest undershoot of an interpolation as a fraction of the robust maximum; lower values are no magnitudes."""
BIAS_ORDER: Final = 3
"""Total degree of the polynomial in the logarithm: smooth over a head (van Leemput et al. 1999)."""


@dataclass(frozen=True)
class Augmentation:
    """Changes to a head; the defaults change nothing.

    Attributes:
        seed: seed of the bias field's shape and of the noise.
        bias_field: largest logarithm of the factor; 0.2 multiplies by exp(-0.2) to exp(0.2), 0.82 to 1.22.
        gamma: exponent on intensities scaled to a robust maximum of 1; values below 1 brighten dark tissue.
        noise: standard deviation in each of the two receiver channels, as a fraction of the robust maximum.
        flip_left_right: True to mirror the head at the middle of the field of view, along the axis closest to
            left-right. Labels keep their values, so label tables that tell left from right become wrong.
        rotation_deg: rotation about the world axes x, then y, then z (RAS), through the middle of the field of view.

    Raises:
        UsageError: a value is outside its range.
    """

    seed: int = 0
    bias_field: float = 0.0
    gamma: float = 1.0
    noise: float = 0.0
    flip_left_right: bool = False
    rotation_deg: Vector = (0.0, 0.0, 0.0)

    def __post_init__(self) -> None:
        _require_within("bias_field", self.bias_field, BIAS_FIELD_RANGE)
        _require_within("gamma", self.gamma, GAMMA_RANGE)
        _require_within("noise", self.noise, NOISE_RANGE)
        for angle in self.rotation_deg:
            _require_within("rotation_deg", angle, ROTATION_RANGE_DEG)


DEMO_BIAS_FIELD: Final[Range] = (0.05, 0.25)
DEMO_GAMMA: Final[Range] = (0.8, 1.25)
DEMO_NOISE: Final[Range] = (0.005, 0.04)
"""Milder noise range for the demonstration, whose heads should look like everyday ones."""


def demo_augmentations(count: int, seed: int) -> tuple[Augmentation, ...]:
    """Return augmentations spread evenly over the demonstration's ranges, every other one mirrored.

    Each parameter takes one value in each of `count` equal parts of its range, in random order (Latin hypercube; McKay
    et al. 1979), so a few cases reach both ends of every range.

    Raises:
        UsageError: `count` is less than one.
    """
    if count < 1:
        raise UsageError(f"expected at least 1 augmentation, got {count}")
    random = np.random.Generator(np.random.PCG64(seed))
    bias, gamma, noise, *angles = (
        _stratified(random, count, span)
        for span in (DEMO_BIAS_FIELD, DEMO_GAMMA, DEMO_NOISE, *[ROTATION_RANGE_DEG] * 3)
    )
    seeds = np.random.SeedSequence(seed).generate_state(count)
    return tuple(
        Augmentation(int(seeds[k]), bias[k], gamma[k], noise[k], k % 2 == 1, (angles[0][k], angles[1][k], angles[2][k]))
        for k in range(count)
    )


def augment(volume: Volume, mask: Mask | None, augmentation: Augmentation) -> tuple[Volume, Mask | None]:
    """Return the augmented head on the same grid, and its mask moved with it.

    Voxels that are exactly zero stay zero through contrast, bias and noise. They hold no signal (outside the field of
    view, or removed by the publisher), and networks trained on stripped heads rely on zeros.

    Args:
        volume: head with magnitude intensities; zero means no signal.
        mask: labels on the same grid, or None.
        augmentation: changes to apply.

    Raises:
        GeometryError: volume and mask lie on different grids.
        InputError: the volume has lower negative intensities than interpolation leaves.
    """
    if mask is not None and not volume.geometry.same_grid(mask.geometry):
        raise GeometryError(
            f"{volume.name}: expected the mask on the grid of the volume {volume.geometry.shape}, got another "
            f"grid {mask.geometry.shape}"
        )
    voxels = _moved(volume.voxels, volume.geometry, augmentation, order=1)
    voxels = _measured(voxels, augmentation, volume.name)
    labels = None if mask is None else _moved(mask.labels, volume.geometry, augmentation, order=0)
    moved_mask = None if mask is None or labels is None else Mask(labels, mask.geometry)
    return replace(volume, voxels=voxels, name=f"{volume.name} (augmentation {augmentation.seed})"), moved_mask


def rotation_matrix(rotation_deg: Vector) -> Matrix:
    """Return Rz @ Ry @ Rx (3 x 3): rotation about x first, each angle counter-clockwise seen from the +axis."""
    matrix = np.eye(3)
    for axis, angle in enumerate(np.radians(rotation_deg)):
        first, second = (axis + 1) % 3, (axis + 2) % 3
        turn = np.eye(3)
        turn[first, first] = turn[second, second] = np.cos(angle)
        turn[second, first], turn[first, second] = np.sin(angle), -np.sin(angle)
        matrix = turn @ matrix
    return matrix


def bias_field(shape: tuple[int, ...], strength: float, random: np.random.Generator) -> FloatArray:
    """Return a smooth positive factor (I, J, K) between exp(-strength) and exp(strength), reaching one of the two.

    The logarithm is a polynomial of total degree `BIAS_ORDER` without a constant and with uniform coefficients.
    """
    axes = [np.linspace(-1, 1, side, dtype=np.float32) for side in shape]
    logarithm = np.zeros(shape, dtype=np.float32)
    for powers in product(range(BIAS_ORDER + 1), repeat=3):
        if 0 < sum(powers) <= BIAS_ORDER:
            i, j, k = (axis**power for axis, power in zip(axes, powers, strict=True))
            coefficient = np.float32(random.uniform(-1, 1))
            logarithm += coefficient * i[:, None, None] * j[:, None] * k
    logarithm *= strength / np.abs(logarithm).max()
    return np.exp(logarithm, out=logarithm)


def rician_noise(voxels: FloatArray, sigma: float, random: np.random.Generator) -> FloatArray:
    """Add complex Gaussian noise of `sigma` per channel to magnitudes (Gudbjartsson and Patz 1995).

    Two channels of Gaussian noise are a Rayleigh radius at a uniform angle, so uniform numbers suffice:
    |A + r exp(i theta)| = sqrt(A^2 + 2 A r cos(theta) + r^2).
    """
    radius = sigma * np.sqrt(-2 * np.log1p(-random.random(voxels.shape, dtype=np.float32)))
    angle = 2 * np.pi * random.random(voxels.shape, dtype=np.float32)
    squared = voxels**2 + 2 * voxels * radius * np.cos(angle) + radius**2
    return np.asarray(np.sqrt(np.maximum(squared, 0)), dtype=np.float32)


def _moved(voxels: Any, geometry: Geometry, augmentation: Augmentation, *, order: Literal[0, 1]) -> Any:
    """Flip, then rotate with linear (order 1) or nearest (order 0) interpolation; zero outside the field of view."""
    if augmentation.flip_left_right:
        left_right = next(axis for axis, letter in enumerate(geometry.orientation) if letter in "LR")
        voxels = np.flip(voxels, axis=left_right)
    if not any(augmentation.rotation_deg):
        return np.ascontiguousarray(voxels)
    from scipy.ndimage import affine_transform

    to_world = geometry.affine[:3, :3]
    # scipy needs the source of each output voxel: the inverse rotation, in voxel coordinates
    matrix = np.linalg.inv(to_world) @ rotation_matrix(augmentation.rotation_deg).T @ to_world
    middle = (np.array(geometry.shape) - 1) / 2
    return affine_transform(voxels, matrix, middle - matrix @ middle, order=order, mode="constant", cval=0.0)


def _measured(voxels: FloatArray, augmentation: Augmentation, name: str) -> FloatArray:
    """Apply contrast, bias field and noise; return the same array if none of them changes anything."""
    if augmentation.gamma == 1 and augmentation.bias_field == 0 and augmentation.noise == 0:
        return voxels
    random = np.random.Generator(np.random.PCG64(augmentation.seed))
    highest = _robust_maximum(voxels, name)
    signal = voxels > 0
    unit: FloatArray = (np.maximum(voxels, 0) / highest).astype(np.float32) ** np.float32(augmentation.gamma)
    if augmentation.bias_field:
        unit *= bias_field(unit.shape, augmentation.bias_field, random)
    if augmentation.noise:
        unit = rician_noise(unit, augmentation.noise, random)
    return np.asarray(np.where(signal, unit * highest, 0), dtype=np.float32)


def _robust_maximum(voxels: FloatArray, name: str) -> np.float32:
    positive = voxels[voxels > 0]
    highest = np.float32(np.percentile(positive, ROBUST_PERCENT)) if positive.size else np.float32(0)
    if voxels.min() < -NEGATIVE_SHARE * highest or highest == 0:
        raise InputError(
            f"{name}: expected magnitude intensities (zero means no signal), got values down to {voxels.min():.4g}; "
            "give the image as the scanner made it, before any normalisation"
        )
    return highest


def _stratified(random: np.random.Generator, count: int, span: Range) -> list[float]:
    """Draw one value from each of `count` equal parts of a range, in random order."""
    low, high = span
    parts = np.argsort(random.random(count))
    return [float(value) for value in low + (high - low) * (parts + random.random(count)) / count]


def _require_within(name: str, value: float, span: Range) -> None:
    low, high = span
    if not low <= value <= high:
        raise UsageError(f"expected {name} between {low:g} and {high:g}, got {value:g}")
