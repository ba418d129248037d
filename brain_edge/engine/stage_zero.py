"""Stage 0 of a package: another package, a skull-stripper, before a network that was trained on brains.

A package names its stage 0 by digest, so that its meaning does not depend on the folders beside it. Stage 0 runs first,
with its own steps. Voxels outside of its mask become 0 in every sequence before the first step of the naming package.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from msgspec import UNSET

from brain_edge.errors import ImplausibleError, InputError, PackageError, UsageError
from brain_edge.image.volume import Study, Volume
from brain_edge.package.reader import ModelPackage, digest_of, open_package
from brain_edge.spec.model import Task
from brain_edge.spec.steps.regrid import onto

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from brain_edge.engine.segmenter import Segmenter, WarmSegmenter
    from brain_edge.image.contrast import Contrast
    from brain_edge.image.volume import Mask
    from brain_edge.machine.options import RuntimeOptions
    from brain_edge.spec.plausibility import Flag


@dataclass(frozen=True, eq=False)
class SkullStripper:
    """A stage 0 that finds the brain in one image, for a preparation.

    Attributes:
        package: package of the stage 0.
        warm: function that returns the package ready to run, called for the first image; a prepared study needs none.
    """

    package: ModelPackage
    warm: Callable[[], WarmSegmenter]

    @property
    def name(self) -> str:
        """Name of the model."""
        return self.package.spec.name

    @property
    def digest(self) -> str:
        """Digest of the package."""
        return self.package.digest

    @property
    def contrasts(self) -> tuple[Contrast, ...]:
        """Contrasts that the model was made for; empty if not stated."""
        return self.package.spec.inputs[0].stated

    def __call__(self, volume: Volume) -> tuple[Mask, tuple[Flag, ...]]:
        """Return the brain of an image on its own grid, and doubtful findings.

        Raises:
            ImplausibleError: no brain was found.
        """
        segmenter = self.warm()
        found = segmenter(volume)
        segmenter.release()
        if np.count_nonzero(found.mask.labels) == 0:
            raise ImplausibleError(
                f"stage 0, {self.name}, found no brain in {volume.name}; check that this image shows a head"
            )
        return found.mask, tuple(replace(flag, message=f"stage 0, {self.name}: {flag.message}") for flag in found.flags)


@dataclass(frozen=True, eq=False)
class BrainMasker:
    """A stage 0 that is ready to run.

    Attributes:
        segmenter: segmenter of the package that was named.
        sequence: name of the study's sequence that stage 0 takes.
    """

    segmenter: Segmenter
    sequence: str

    def __call__(self, study: Study) -> tuple[Study, tuple[Flag, ...]]:
        """Set the study to 0 outside of the brain, each sequence on its own grid; also return the mask's flags.

        Raises:
            InputError: the sequence is missing.
            ImplausibleError: no brain was found.
        """
        name = self.segmenter.spec.name
        if self.sequence not in study.volumes:
            raise InputError(
                f"stage 0, {name}, needs the sequence {self.sequence}, which is missing; "
                f"add it, for example {self.sequence}=FILE"
            )
        found = self.segmenter(study.volumes[self.sequence])
        self.segmenter.release()
        if not found.mask.labels.any():
            raise ImplausibleError(
                f"stage 0, {name}, found no brain in {study.volumes[self.sequence].name}; check that this image shows "
                "a head"
            )
        flags = tuple(replace(flag, message=f"stage 0, {name}: {flag.message}") for flag in found.flags)
        volumes = {name: inside(volume, found.mask) for name, volume in study.volumes.items()}
        return Study(volumes, study.reference), flags


def inside(volume: Volume, mask: Mask) -> Volume:
    """Return a volume with 0 where a mask is 0; if their grids differ, the nearest voxel of the mask counts."""
    labels = onto(mask.labels[np.newaxis], mask.geometry, volume.geometry, is_labels=True)[0]
    return replace(volume, voxels=np.where(labels > 0, volume.voxels, np.float32(0)))


def find_stage_zero(package: ModelPackage, given: Path | None = None) -> ModelPackage | None:
    """Open and check the stage 0 that a package names; None if the package names none.

    A package whose preparation removes the skull, and that names no stage 0, takes the one that the user gives.

    Args:
        package: package that names its stage 0.
        given: folder of the stage 0. By default the folders beside the package are searched for its digest.

    Raises:
        PackageError: the stage 0 is missing, damaged, or a package with another digest.
        UsageError: a folder is given for a package that names no stage 0.
    """
    wanted = package.manifest.stage_zero
    if wanted is UNSET:
        if given is not None and package.spec.removes_skull:
            return open_stripper(given)
        if given is not None:
            raise UsageError(f"--stage-zero has no effect: {package.folder} names no stage 0; remove --stage-zero")
        return None
    if given is not None:
        opened = open_package(given)
        if opened.digest != wanted.digest:
            raise PackageError(
                f"{given}: expected the stage 0 of {package.folder}, {wanted.name} with digest {wanted.digest}; "
                f"got {opened.spec.name} with digest {opened.digest}. Name the folder of {wanted.name}"
            )
        return opened
    for manifest in sorted(package.folder.resolve().parent.glob("*/manifest.json")):
        if digest_of(manifest.parent) == wanted.digest:
            return open_package(manifest.parent)
    raise PackageError(
        f"{package.folder}: found no stage 0, {wanted.name} with digest {wanted.digest}, in the folders beside it; "
        "copy it there, or name its folder with --stage-zero PKG"
    )


def open_stripper(folder: Path) -> ModelPackage:
    """Open the package that a user gives as stage 0.

    Raises:
        PackageError: the package is damaged or none.
        UsageError: the package is no skull-stripper.
    """
    package = open_package(folder)
    if package.spec.task is not Task.SKULL_STRIPPING:
        raise UsageError(
            f"--stage-zero {folder}: expected a skull-stripper, got {package.spec.name}, a model for "
            f"{package.spec.task}; name the package of a skull-stripper"
        )
    return package


def with_stage_zero(package: ModelPackage, options: RuntimeOptions) -> RuntimeOptions:
    """Return the options with the folder of a package's stage 0, for packages made from it in another folder.

    Raises:
        PackageError: the stage 0 is missing, damaged, or a package with another digest.
        UsageError: a folder is given for a package that names no stage 0.
    """
    zero = find_stage_zero(package, options.stage_zero)
    return replace(options, stage_zero=None if zero is None else zero.folder)
