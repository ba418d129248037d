"""The package that another one names as its stage 0: a skull-stripper before a network that was trained on brains.

It is named by its digest, so that what a package means does not depend on what lies beside it. It runs first, between
its own steps; what lies outside of its mask is 0 in every sequence before the first step of the package that names it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from msgspec import UNSET

from brain_edge.errors import ImplausibleError, InputError, PackageError, UsageError
from brain_edge.image.volume import Study, Volume
from brain_edge.package.reader import ModelPackage, digest_of, open_package
from brain_edge.spec.steps.regrid import onto

if TYPE_CHECKING:
    from pathlib import Path

    from brain_edge.engine.segmenter import Segmenter
    from brain_edge.image.volume import Mask
    from brain_edge.machine.options import RuntimeOptions
    from brain_edge.spec.plausibility import Flag


@dataclass(frozen=True, eq=False)
class BrainMasker:
    """A stage 0 that is ready to run.

    Attributes:
        segmenter: of the package that was named.
        sequence: of the study, which it is shown.
    """

    segmenter: Segmenter
    sequence: str

    def __call__(self, study: Study) -> tuple[Study, tuple[Flag, ...]]:
        """The study with 0 outside of the brain, each sequence on its own grid, and what is implausible of the mask.

        Raises:
            InputError: the sequence is not there.
            ImplausibleError: no brain was found.
        """
        name = self.segmenter.spec.name
        if self.sequence not in study.volumes:
            raise InputError(
                f"stage 0, {name}, is shown the sequence {self.sequence}, which is missing; give it, "
                f"for example {self.sequence}=FILE"
            )
        found = self.segmenter(study.volumes[self.sequence])
        self.segmenter.release()
        if not found.mask.labels.any():
            raise ImplausibleError(f"stage 0, {name}, has found no brain in {study.volumes[self.sequence].name}")
        flags = tuple(replace(flag, message=f"stage 0, {name}: {flag.message}") for flag in found.flags)
        volumes = {name: inside(volume, found.mask) for name, volume in study.volumes.items()}
        return Study(volumes, study.reference), flags


def inside(volume: Volume, mask: Mask) -> Volume:
    """A volume with 0 where a mask is 0; the mask comes from the nearest voxel where their grids differ."""
    labels = onto(mask.labels[np.newaxis], mask.geometry, volume.geometry, is_labels=True)[0]
    return replace(volume, voxels=np.where(labels > 0, volume.voxels, np.float32(0)))


def find_stage_zero(package: ModelPackage, given: Path | None = None) -> ModelPackage | None:
    """The package that another one names, checked whole; None where it names none.

    Args:
        package: that names it.
        given: its folder. Unless given, it is looked for among the folders beside the package, by its digest.

    Raises:
        PackageError: it is not there, another one, or damaged.
        UsageError: a folder is given for a package that names none.
    """
    wanted = package.manifest.stage_zero
    if wanted is UNSET:
        if given is not None:
            raise UsageError(f"{package.folder} names no stage 0: --stage-zero would do nothing; leave it out")
        return None
    if given is not None:
        opened = open_package(given)
        if opened.digest != wanted.digest:
            raise PackageError(
                f"{given}: expected the package {wanted.name} with the digest {wanted.digest}, which {package.folder} "
                f"names as its stage 0, got {opened.spec.name} with {opened.digest}; use the one that was named"
            )
        return opened
    for manifest in sorted(package.folder.resolve().parent.glob("*/manifest.json")):
        if digest_of(manifest.parent) == wanted.digest:
            return open_package(manifest.parent)
    raise PackageError(
        f"{package.folder}: expected its stage 0, the package {wanted.name} with the digest {wanted.digest}, in a "
        "folder beside it, found none; copy it there, or name its folder with --stage-zero PKG"
    )


def with_stage_zero(package: ModelPackage, options: RuntimeOptions) -> RuntimeOptions:
    """The options with the folder of a package's stage 0 in them: for what is made of the package, and lies elsewhere.

    Raises:
        PackageError: it is not there, another one, or damaged.
        UsageError: a folder is given for a package that names none.
    """
    zero = find_stage_zero(package, options.stage_zero)
    return replace(options, stage_zero=None if zero is None else zero.folder)
