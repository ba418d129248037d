"""A head made of ellipsoids for the self-test of a package, so that no package contains a patient's image.

The noise uses the raw numbers of PCG64. numpy promises that stream for every version and machine, but not the output
of `Generator` (NEP 19). No power or logarithm of a voxel is computed, because CPUs differ in its last digit.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Final, Literal

import msgspec
import numpy as np
from msgspec import Meta

from brain_edge.image.geometry import Geometry
from brain_edge.image.volume import Study, Volume

if TYPE_CHECKING:
    from collections.abc import Iterable

    from brain_edge.image.geometry import Shape
    from brain_edge.image.volume import FloatArray

PhantomSide = Annotated[int, Meta(ge=1, le=512)]
Ellipsoid = tuple[tuple[float, float, float], tuple[float, float, float], float]
"""Centre (mm, RAS, relative to the centre of the head), half axes (mm), intensity."""

HEAD: Final[tuple[Ellipsoid, ...]] = (
    ((0, 0, 0), (78, 98, 92), 0.85),  # scalp: bright fat on T1
    ((0, 0, 1), (72, 92, 86), 0.10),  # skull: dark bone
    ((0, 0, 2), (68, 88, 80), 0.22),  # cerebrospinal fluid
    ((0, 0, 3), (65, 84, 76), 0.55),  # grey matter
    ((-26, 2, 4), (30, 70, 56), 0.80),  # white matter, left
    ((26, 2, 4), (30, 70, 56), 0.80),  # white matter, right
    ((-9, 2, 8), (5, 26, 12), 0.20),  # lateral ventricle, left
    ((9, 2, 8), (5, 26, 12), 0.20),  # lateral ventricle, right
    ((-32, 72, -28), (13, 12, 13), 0.40),  # eye, left
    ((32, 72, -28), (13, 12, 13), 0.40),  # eye, right
    ((0, -30, -95), (52, 46, 40), 0.50),  # neck
)


class Phantom(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Parameters of a phantom; the same parameters give the same voxels on every machine.

    Attributes:
        seed: seed of the noise.
        shape: voxels along I, J, K; the default sides are multiples of 32, which networks of five halvings accept.
        spacing_mm: isotropic spacing in mm.
        generator: version of this algorithm.
    """

    seed: Annotated[int, Meta(ge=0)] = 20261121
    shape: tuple[PhantomSide, PhantomSide, PhantomSide] = (96, 128, 96)
    spacing_mm: Annotated[float, Meta(gt=0.0, le=100.0)] = 2.0
    generator: Literal[1] = 1


def make_volume(phantom: Phantom, contrast: float = 1.0, name: str = "phantom") -> Volume:
    """Make one image of the phantom, RAS, intensities of about 0 to 1000; `contrast` is a gamma on the tissues."""
    affine = np.diag([phantom.spacing_mm] * 3 + [1.0])
    affine[:3, 3] = -(np.array(phantom.shape) - 1) / 2 * phantom.spacing_mm
    geometry = Geometry(phantom.shape, affine)
    # rounded, because a power differs between C libraries in the last digit
    tissue = _paint([(*form, round(value**contrast, 6)) for *form, value in HEAD], geometry)
    noise = _uniform(phantom.seed, phantom.shape) - 0.5
    return Volume(np.asarray(1000 * np.clip(tissue + 0.06 * noise, 0, None), dtype=np.float32), geometry, name)


def make_study(phantom: Phantom, sequences: Iterable[str]) -> Study:
    """Make a study with the named sequences, each with its own contrast."""
    names = list(sequences)
    volumes = {name: make_volume(phantom, 1.0 + 0.25 * k, f"phantom {name}") for k, name in enumerate(names)}
    return Study(volumes, names[0])


def _uniform(seed: int, shape: Shape) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    """Return numbers in [0, 1) from the 53 high bits of each raw number (Vigna's recipe, as numpy does today)."""
    raw = np.random.PCG64(seed).random_raw(int(np.prod(shape)))
    return np.asarray((raw >> np.uint64(11)) * 2.0**-53).reshape(shape)


def _paint(ellipsoids: Iterable[Ellipsoid], geometry: Geometry) -> FloatArray:
    """Return the intensities (I, J, K) of overlapping ellipsoids; later ellipsoids cover earlier ones."""
    middle = geometry.affine[:3, 3], np.diag(geometry.affine)[:3]
    x, y, z = np.meshgrid(
        *(start + step * np.arange(n) for start, step, n in zip(*middle, geometry.shape, strict=True)), indexing="ij"
    )
    image = np.zeros(geometry.shape, dtype=np.float32)
    for (cx, cy, cz), (a, b, c), value in ellipsoids:
        image[((x - cx) / a) ** 2 + ((y - cy) / b) ** 2 + ((z - cz) / c) ** 2 <= 1] = value
    return image
