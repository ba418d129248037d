"""Refusal of images that no registration can use, before any work."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from brain_edge.errors import InputError
from brain_edge.image.geometry import require_head
from brain_edge.spec.plausibility import FlagKind, check_input

if TYPE_CHECKING:
    from brain_edge.image.geometry import Geometry
    from brain_edge.image.volume import Study, Volume

FEWEST_SLICES: Final = 12
"""Number of slices below which an image is a localiser or a single slab; a clinical series of a head has 19 or more."""
LEAST_EXTENT_MM: Final = 80.0
"""Field of view along any axis below which an image shows a part of a brain; a brain is 100 mm high or more."""


def require_volumes(study: Study) -> None:
    """Refuse images that show no whole head, or no MR image.

    Raises:
        InputError: an image has too few slices or too small a field of view, or is a CT, a label map or a copy of
            another sequence.
        GeometryError: no head has the grid of an image.
    """
    from brain_edge.spec import Plausible

    for name, volume in study.volumes.items():
        require_head(volume.geometry)
        _require_head_shown(name, volume)
    flag = next((flag for flag in check_input(study, Plausible()) if flag.kind is FlagKind.VALUES), None)
    if flag is not None:
        # a flag begins with the sequence
        files = (each.name for name, each in study.volumes.items() if flag.message.startswith(f"{name} "))
        place = next((f"{file}: " for file in files), "")
        raise InputError(f"{place}{flag.message}; give the MR images of one head, each once")


def shows_head(geometry: Geometry) -> bool:
    """Return True if a grid is large enough for a whole head, and no slice, slab or part of it."""
    return min(geometry.shape) >= FEWEST_SLICES and min(geometry.extent_mm) >= LEAST_EXTENT_MM


def _require_head_shown(name: str, volume: Volume) -> None:
    slices, extent = min(volume.geometry.shape), min(volume.geometry.extent_mm)
    if slices < FEWEST_SLICES:
        raise InputError(
            f"{volume.name}: expected a volume of the head for {name}, got {slices} slices, as a localiser has; give "
            "the series of the whole head"
        )
    if extent < LEAST_EXTENT_MM:
        raise InputError(
            f"{volume.name}: expected a field of view of at least {LEAST_EXTENT_MM:g} mm for {name}, got "
            f"{extent:.0f} mm; give the series of the whole head"
        )
