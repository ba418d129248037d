"""The parts of a preparation, done on one study: brains, transforms, one interpolation, no skull."""

from __future__ import annotations

import time
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from brain_edge.errors import UsageError
from brain_edge.image.contrast import takes
from brain_edge.image.volume import Mask, Study
from brain_edge.machine.atomic import make_folder
from brain_edge.preparation.kept import entry_of, keep, kept
from brain_edge.preparation.parts import Part, is_stripped, reference_of
from brain_edge.preparation.prepared import Prepared, within
from brain_edge.preparation.transforms import Found, find_transforms, library, open_atlas
from brain_edge.registration.through import resample_through
from brain_edge.spec.preparation import Skull

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from brain_edge.image.volume import Volume
    from brain_edge.preparation.preparer import Preparer
    from brain_edge.registration.rigid import Rigid
    from brain_edge.spec.plausibility import Flag


def prepare(preparer: Preparer, study: Study, missing: tuple[Part, ...]) -> Prepared:
    """Return a study with the missing parts done, from the folder of kept studies where it is there.

    Args:
        preparer: preparation, and what it takes.
        study: images as they were scanned.
        missing: parts to do.
    """
    atlas = open_atlas(preparer) if Part.ATLAS in missing else None
    work = _Work(preparer, Study(study.volumes, reference_of(study, preparer.preparation)), missing, atlas)
    if preparer.kept is None:
        return replace(work.done(), scanned=study)
    make_folder(preparer.kept)  # a place that cannot be written to is named before any work
    entry = entry_of(preparer.kept, work.study, preparer.preparation, work.made_by())
    found = kept(entry, work.study) or keep(work.done(), preparer.preparation, entry)
    return replace(found, scanned=study)


@dataclass(eq=False)
class _Work:
    """The preparation of one study.

    Attributes:
        preparer: preparation, and what it takes.
        study: images as they were scanned; its reference is that of the registration.
        missing: parts to do.
        atlas: image of the atlas and its hash; None if nothing is registered to it.
    """

    preparer: Preparer
    study: Study
    missing: tuple[Part, ...]
    atlas: tuple[Volume, str] | None
    elapsed_ms: dict[str, float] = field(default_factory=dict)
    flags: list[Flag] = field(default_factory=list)

    def made_by(self) -> dict[str, str]:
        """Return names, versions and hashes of everything that takes part."""
        registers = {Part.SEQUENCES, Part.ATLAS} & set(self.missing)
        stripper = self.preparer.stripper
        return {
            **({"registration": library()} if registers else {}),
            **({"stage 0": stripper.digest, "brain of": self._brain_sequence()} if stripper else {}),
            **({"atlas": self.atlas[1]} if self.atlas else {}),
        }

    def done(self) -> Prepared:
        """Return the prepared study."""
        with self._timed("brain of each sequence"):
            brains = self._brains()
        with self._timed("registration"):
            found = find_transforms(self.preparer, self.study, self.missing, brains, self.atlas)
        with self._timed("interpolation"):
            study = self._on_grid(found.transforms)
        with self._timed("skull"):
            brain = self._brain(study, brains, found.transforms)
        if brain is not None:
            study = Study({name: within(each, brain) for name, each in study.volumes.items()}, study.reference)
        return self._prepared(study, brain, found)

    def _prepared(self, study: Study, brain: Mask | None, found: Found) -> Prepared:
        flags = (*self.flags, *found.flags)
        return Prepared(
            study,
            self.study,
            found.transforms,
            brain,
            self.missing,
            flags,
            found.judgements,
            self.made_by(),
            self.elapsed_ms,
            found.not_compared,
        )

    def _brains(self) -> dict[str, Mask]:
        """Return the brain of each sequence as it was scanned, where it can be found.

        A registration is judged by these brains. Stage 0 sees the sequences of the contrasts that it was made for.
        """
        if is_stripped(self.study):
            return {name: _content(volume) for name, volume in self.study.volumes.items()}
        registers = {Part.SEQUENCES, Part.ATLAS} & set(self.missing)
        before = self.preparer.preparation.skull is Skull.REMOVED_BEFORE and Part.SKULL in self.missing
        wanted = [name for name in self.study.volumes if registers and self._suits(name)]
        wanted += [self._brain_sequence()] if before else []
        return {name: self._strip(self.study.volumes[name]) for name in dict.fromkeys(wanted)}

    def _suits(self, name: str) -> bool:
        """Return True if stage 0 was made for the contrast of a sequence."""
        stripper, stated = self.preparer.stripper, self.preparer.contrasts.get(name, ())
        if stripper is None:
            return False
        return name == self._brain_sequence() or all(takes(stripper.contrasts, each) for each in stated or (None,))

    def _strip(self, volume: Volume) -> Mask:
        if self.preparer.stripper is None:
            raise UsageError("expected a skull-stripper, got none; give --stage-zero PKG")
        mask, flags = self.preparer.stripper(volume)
        self.flags.extend(flags)
        return mask

    def _brain_sequence(self) -> str:
        return self.preparer.brain_sequence(self.study)

    def _on_grid(self, transforms: Mapping[str, Rigid]) -> Study:
        """Return the images on the grid of the preparation, each interpolated once."""
        if not transforms:
            return self.study
        grid = self.preparer.preparation.grid(self.study.geometry)
        moved = {name: resample_through(volume, transforms[name], grid) for name, volume in self.study.volumes.items()}
        return Study(moved, self.study.reference)

    def _brain(self, study: Study, brains: Mapping[str, Mask], transforms: Mapping[str, Rigid]) -> Mask | None:
        """Return the brain on the prepared grid; None if no skull is to be removed."""
        if Part.SKULL not in self.missing:
            return None
        name = self._brain_sequence()
        if self.preparer.preparation.skull is Skull.REMOVED_AFTER:
            return self._strip(study.volumes[name])
        return resample_through(brains[name], transforms[name], study.geometry) if transforms else brains[name]

    @contextmanager
    def _timed(self, what: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self.elapsed_ms[what] = (time.perf_counter() - start) * 1000


def _content(volume: Volume) -> Mask:
    """Return the voxels of a stripped image that differ from its background."""
    values, counts = np.unique(volume.voxels, return_counts=True)
    return Mask((volume.voxels != values[counts.argmax()]).astype(np.uint8), volume.geometry)
