"""Transforms of a preparation: the sequences to the reference, the reference to the atlas, both combined.

A transform that is outside of its limits is refused or flagged, as the preparation says. Nothing falls back to the
headers.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import numpy as np

from brain_edge import __version__
from brain_edge.errors import InputError, UsageError
from brain_edge.image.volume import Mask, Volume
from brain_edge.io.nifti import read_volume
from brain_edge.package.digest import sha256_of
from brain_edge.preparation.parts import Part
from brain_edge.registration.atlas import ATLASES, in_challenge_order, recognised, require_atlas
from brain_edge.registration.judgement import DRIFT_DOUBTFUL_MM, Judgement, Verdict, judge
from brain_edge.registration.library import import_simpleitk, without_bias
from brain_edge.registration.refine import refined
from brain_edge.registration.register import register
from brain_edge.registration.rigid import Rigid
from brain_edge.spec.plausibility import Flag, FlagKind
from brain_edge.spec.preparation import Atlas, Doubtful
from brain_edge.spec.stripped import LARGEST_BRAIN_ML, content_ml

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from brain_edge.image.volume import Study
    from brain_edge.preparation.preparer import Preparer
    from brain_edge.spec.preparation import Preparation

ATLAS: Final = "atlas"
"""Name of the atlas where the others are sequences."""
USERS_ATLAS: Final = "atlas"
"""Name of the space of an atlas that the program does not know."""


@dataclass
class Found:
    """Transforms of a study.

    Attributes:
        transforms: transform of each sequence, from the world of the prepared images to that of the image as it was
            scanned; empty if nothing moves.
        judgements: figures of each registration, by the name of the moving sequence.
        flags: doubtful registrations.
        not_compared: reason why the brain of a moving sequence was not compared with that of the reference, by name.
    """

    transforms: dict[str, Rigid] = field(default_factory=dict)
    judgements: dict[str, dict[str, float]] = field(default_factory=dict)
    flags: list[Flag] = field(default_factory=list)
    not_compared: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class _Image:
    """An image for a registration: with its bias field corrected if the preparation says so, and its brain."""

    name: str
    volume: Volume
    brain: Mask | None = None


def find_transforms(
    preparer: Preparer,
    study: Study,
    missing: tuple[Part, ...],
    brains: Mapping[str, Mask],
    atlas: tuple[Volume, str] | None,
) -> Found:
    """Register what is missing and combine the transforms.

    Args:
        preparer: preparation, and what it takes.
        study: images as they were scanned; the others are registered to its reference.
        missing: parts to do.
        brains: brain of each sequence, where it is known.
        atlas: image of the atlas and its hash; None if nothing is registered to it.

    Raises:
        InputError: a registration is outside of its limits.
    """
    found = Found()
    if not {Part.SEQUENCES, Part.ATLAS, Part.GRID} & set(missing):
        return found
    images = {name: _image(preparer, name, study.volumes[name], brains.get(name)) for name in study.volumes}
    reference = images[study.reference]
    to_atlas = Rigid.identity()
    if atlas is not None:
        to_atlas = _registered(preparer, reference, _Image(ATLAS, atlas[0], _brain_of(atlas[0])), found)
    for name, image in images.items():
        moves = name != study.reference and Part.SEQUENCES in missing
        found.transforms[name] = (_registered(preparer, image, reference, found) if moves else Rigid.identity()).after(
            to_atlas
        )
    return found


def library() -> str:
    """Return the versions of this program and of the library of the registration.

    Raises:
        MissingExtraError: the library is not installed.
    """
    return f"brain-edge {__version__}, SimpleITK {import_simpleitk().Version.VersionString()}"


def open_atlas(preparer: Preparer) -> tuple[Volume, str]:
    """Return the image of the atlas of a preparation, and the hash of its file.

    Raises:
        InputError: no file is named, or the file is not that atlas.
    """
    if preparer.atlas is None:
        atlas = preparer.preparation.atlas
        space = atlas.space if atlas else USERS_ATLAS
        raise InputError(f"expected the file of the atlas {space}, got none; give --atlas FILE")
    return read_atlas(preparer.preparation, preparer.atlas), sha256_of(preparer.atlas)


def read_atlas(preparation: Preparation, path: Path) -> Volume:
    """Read the atlas of a preparation.

    Raises:
        UsageError: the preparation has no atlas.
        InputError: the file cannot be read, or has another grid or content than the atlas.
    """
    atlas = preparation.atlas
    if not atlas:
        raise UsageError("--atlas has no effect with this package, whose preparation has no atlas; remove --atlas")
    volume = in_challenge_order(read_volume(path))
    known = next((each for each in ATLASES if each.name == atlas.space), None)
    if known is not None:
        require_atlas(volume, known)
    if not volume.geometry.same_grid(atlas.geometry):
        raise InputError(
            f"{path}: expected the atlas {atlas.space} on the grid {atlas.geometry}, got {volume.geometry}; give the "
            f"file of {atlas.space}"
        )
    return volume


def atlas_of_file(path: Path) -> Atlas:
    """Return the atlas that a user names for a preparation without a package: its space and its grid.

    Raises:
        InputError: the file cannot be read, or its grid is oblique or has several spacings.
    """
    volume = in_challenge_order(read_volume(path))
    grid = volume.geometry
    atlas = Atlas(
        space=_space_of(volume),
        shape=grid.shape,
        spacing_mm=round(grid.spacing_mm[0], 4),
        axes=grid.orientation,
        origin_mm=(float(grid.affine[0, 3]), float(grid.affine[1, 3]), float(grid.affine[2, 3])),
    )
    if not atlas.geometry.same_grid(grid):
        raise InputError(
            f"{path}: expected an atlas along the axes of the world with one spacing, got {grid}; resample it first"
        )
    return atlas


def _space_of(volume: Volume) -> str:
    """Return the name of a known atlas; any other image is an atlas of the user."""
    try:
        return recognised(volume).name
    except InputError:
        if any(volume.geometry.shape == each.grid.shape for each in ATLASES):
            raise  # a known atlas in another version
        return USERS_ATLAS


def _image(preparer: Preparer, name: str, volume: Volume, brain: Mask | None) -> _Image:
    shown = without_bias(volume) if preparer.preparation.bias_field else volume
    return _Image(name, shown, brain)


def _brain_of(atlas: Volume) -> Mask | None:
    """Return the content of an atlas without a skull; None for an atlas of a whole head."""
    if content_ml(atlas) > LARGEST_BRAIN_ML:
        return None
    values, counts = np.unique(atlas.voxels, return_counts=True)
    return Mask((atlas.voxels != values[counts.argmax()]).astype(np.uint8), atlas.geometry)


def _registered(preparer: Preparer, moving: _Image, fixed: _Image, found: Found) -> Rigid:
    """Return the transform from the world of `fixed` to that of `moving`, judged.

    Raises:
        InputError: the registration has failed, or is doubtful and the preparation refuses that.
    """
    to_atlas = fixed.name == ATLAS
    # a whole head is rigid and says more than its brain; an atlas without a skull has nothing outside of its brain
    region = fixed.brain if to_atlas else None
    transform = register(moving.volume, fixed.volume, threads=preparer.threads, fixed_mask=region)
    if fixed.brain is not None and not to_atlas:
        transform = refined(moving.volume, fixed.volume, transform, fixed.brain)
    masks = (moving.brain, fixed.brain)
    judgement = judge(moving.volume, fixed.volume, transform, masks=masks, same_person=not to_atlas)
    found.judgements[moving.name if not to_atlas else ATLAS] = _figures(judgement)
    if judgement.overlap is None and not to_atlas:
        found.not_compared[moving.name] = _not_compared(preparer, moving, fixed)
    words = f"{moving.volume.name}: {moving.name} on {fixed.name}: {' '.join(judgement.reasons)}"
    refuses = preparer.preparation.doubtful is Doubtful.REFUSED
    if judgement.verdict is Verdict.FAILED or (judgement.verdict is Verdict.DOUBTFUL and refuses):
        raise InputError(f"{words} Check that both images show this person, and register them yourself")
    if judgement.verdict is Verdict.DOUBTFUL:
        found.flags.append(Flag(FlagKind.REGISTRATION, words, judgement.drift_mm, 0.0, DRIFT_DOUBTFUL_MM))
    return transform


def _not_compared(preparer: Preparer, moving: _Image, fixed: _Image) -> str:
    """Return why the brains of two sequences were not compared, in words."""
    words = f"The brains of {moving.name} and {fixed.name} were not compared"
    if preparer.stripper is None:
        return f"{words}: no skull-stripper (stage 0) was given."
    without = " and ".join(image.name for image in (moving, fixed) if image.brain is None)
    made_for = ", ".join(preparer.stripper.contrasts) or "a contrast that it does not state"
    return (
        f"{words}: stage 0, {preparer.stripper.name}, is made for {made_for}, not for {without}. A stage 0 of any "
        "contrast compares them."
    )


def _figures(judgement: Judgement) -> dict[str, float]:
    """Return the figures of a judgement for the record."""
    figures = {
        "similarity_before": judgement.similarity_before,
        "similarity": judgement.similarity,
        "similarity_mirrored": judgement.similarity_mirrored,
        "overlap": judgement.overlap,
        "displacement_mm": judgement.displacement_mm,
        "angle_deg": judgement.angle_deg,
        "drift_mm": judgement.drift_mm,
    }
    return {name: round(value, 4) for name, value in figures.items() if value is not None}
