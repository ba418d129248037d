"""Cohorts by name or file, their cases, and the images of each case: one case in memory at a time."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from brain_edge.errors import InputError, UsageError
from brain_edge.evaluation.cohort.manifest import CohortManifest, Split, read_manifest
from brain_edge.evaluation.cohort.reference import onto_grid, read_reference
from brain_edge.evaluation.cohort.sources import fetch_file, find_file
from brain_edge.image.contrast import Finding
from brain_edge.image.volume import Study, Volume
from brain_edge.io.contrast import contrast_of_file
from brain_edge.io.contrast_words import named
from brain_edge.io.nifti import read_volume

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from brain_edge.deploy.fetch import Report
    from brain_edge.evaluation.cohort.manifest import CaseEntry, FileEntry
    from brain_edge.image.volume import Mask
    from brain_edge.spec import ModelSpec
    from brain_edge.spec import Sequence as SequenceSpec

SUFFIX: Final = ".toml"
FOLDER: Final = "calibration_data"
"""Folder of shipped manifests: in the root of a checkout, or inside an installed `brain_edge`."""


@dataclass(frozen=True)
class Case:
    """A case of a cohort, with all that is needed to find its files.

    Attributes:
        number: number of the case from 1, in the order of the manifest; packages use it instead of a name.
        cohort: name of the cohort as the user gave it.
        folder: folder of the manifest.
        entry: subject, visit, split and files.
        inputs: images in the order of the cohort's sequences; the first gives the grid.
        labels: label of the model for each value in the reference file; empty to keep the values.
        demo: True if one image may be in several cases.
    """

    number: int
    cohort: str
    folder: Path
    entry: CaseEntry
    inputs: Mapping[str, FileEntry]
    labels: Mapping[int, int]
    demo: bool = False

    @property
    def title(self) -> str:
        """Name of the case in messages: cohort, subject, visit and sequences."""
        return f"{self.cohort}: {self.entry.title}"

    @property
    def has_reference(self) -> bool:
        """True if accuracy can be measured on the case; agreement always can."""
        return self.entry.reference is not None


@dataclass(frozen=True)
class Cohort:
    """A manifest that has been read and checked; no image has been opened yet.

    Attributes:
        called: name or path of the cohort as the user gave it.
        path: path of the manifest.
        manifest: content of the manifest.
    """

    called: str
    path: Path
    manifest: CohortManifest

    @property
    def sha256(self) -> str:
        """SHA-256 of the canonical content of the manifest, which includes the hash of every image."""
        return self.manifest.sha256

    def cases(self, split: Split | None = None) -> tuple[Case, ...]:
        """Return the cases of one split, or of all splits.

        Raises:
            InputError: the split has no case.
        """
        numbered = enumerate(self.manifest.cases, start=1)
        wanted = ((number, entry) for number, entry in numbered if split in (None, entry.split))
        chosen = tuple(self._case(number, entry) for number, entry in wanted)
        if not chosen:
            counts = ", ".join(f"{split}: {count}" for split, count in self.counts().items())
            raise InputError(f"the cohort {self.called} has no {split} case ({counts}); add cases to {self.path}")
        return chosen

    def counts(self) -> dict[Split, int]:
        """Return the number of cases of each split."""
        splits = [entry.split for entry in self.manifest.cases]
        return {split: splits.count(split) for split in Split}

    def _case(self, number: int, entry: CaseEntry) -> Case:
        inputs = {name: entry.inputs[name] for name in self.manifest.sequences if name in entry.inputs}
        manifest = self.manifest
        return Case(number, self.called, self.path.parent, entry, inputs, manifest.relabelling, manifest.demo)


@dataclass(frozen=True)
class ResolvedCase:
    """The local files of a case, with checked hashes.

    Attributes:
        inputs: path of each image by sequence name; the first gives the grid.
        reference: path of the reference label map, or None.
    """

    inputs: Mapping[str, Path]
    reference: Path | None


def load_cohort(name_or_path: str | Path) -> Cohort:
    """Load a shipped cohort by its name, or a manifest by its path (which ends in `.toml`).

    Raises:
        UsageError: there is no shipped cohort of that name.
        InputError: the manifest cannot be read, or its cases are inconsistent.
    """
    called = str(name_or_path)
    if isinstance(name_or_path, Path) or called.endswith(SUFFIX):
        path = Path(name_or_path)
    elif called in shipped_cohorts():
        path = _shipped_folder() / (called + SUFFIX)
    else:
        raise UsageError(
            f"there is no cohort {called!r}; "
            f"name a shipped cohort ({', '.join(shipped_cohorts())}) or a manifest that ends in .toml"
        )
    return Cohort(called, path, read_manifest(path))


def shipped_cohorts() -> tuple[str, ...]:
    """List the names of the cohorts that are shipped with the program."""
    return tuple(sorted(path.stem for path in _shipped_folder().glob(f"*{SUFFIX}")))


def fetch_cohort(cohort: Cohort, report: Report | None = None) -> tuple[Path, ...]:
    """Download the files of the cohort from a package registry unless they are cached, and return their paths.

    Raises:
        InputError: a file could not be downloaded, or its hash does not match.
    """
    files = [file for case in cohort.manifest.cases for file in (*case.inputs.values(), case.reference)]
    paths = [fetch_file(file, report) for file in dict.fromkeys(files) if file is not None]
    return tuple(path for path in paths if path is not None)


def resolve(case: Case) -> ResolvedCase:
    """Find the files of a case and check every hash; nothing is downloaded.

    Raises:
        InputError: a file is missing or has changed, its variable is not set, or its archive is not in the cache.
    """
    inputs = {name: find_file(entry, case.folder, case.cohort) for name, entry in case.inputs.items()}
    reference = case.entry.reference
    return ResolvedCase(inputs, find_file(reference, case.folder, case.cohort) if reference else None)


def found_contrast(name: str, path: Path) -> Finding:
    """Find the contrast of an image of a cohort, from its file and sidecar or else from its sequence name."""
    found, called = contrast_of_file(path), named(name)
    if found.contrast is None and called is not None:
        return Finding(called, (f"its sequence is called {name}",))
    return found


def sequences_for(names: Sequence[str], spec: ModelSpec) -> dict[str, SequenceSpec]:
    """Return the model's sequence for each image of a case, by the image's name in the cohort.

    A model of one channel takes a case of one image of any name. Any other model takes its sequences by name and
    ignores the other images of the case.
    """
    if len(spec.inputs) == len(names) == 1:
        return {names[0]: spec.inputs[0]}
    return {sequence.name: sequence for sequence in spec.inputs if sequence.name in names}


def load_case(case: Case) -> tuple[Study, Mask | None]:
    """Read the images of a case and its reference mask, on the grid of the first image that has the grid of the mask.

    That image is the reference of the study. A mask with the same voxels in another order (from fMRIPrep, of a
    reoriented image) is reordered.

    Raises:
        InputError: see `resolve`; or an image or the mask is refused, or the mask is on another grid.
    """
    files = resolve(case)
    study = Study({name: read_volume(path) for name, path in files.inputs.items()}, next(iter(files.inputs)))
    if files.reference is None:
        return study, None
    read = read_reference(files.reference, case.labels)
    for name, volume in study.volumes.items():
        mask = onto_grid(read, volume.geometry)
        if mask is not None:
            return Study(study.volumes, name), mask
    raise InputError(
        f"{files.reference}: expected a reference mask on the grid of {study.reference} of {case.title} "
        f"({study.geometry}), got {read.geometry}; resample the mask to that image first"
    )


def study_for(study: Study, spec: ModelSpec) -> Study | Volume:
    """Return the images of a case that a model takes, as `sequences_for` names them."""
    if len(spec.inputs) == len(study.volumes) == 1:
        return study.volumes[study.reference]
    names = list(sequences_for(list(study.volumes), spec))
    if not names:
        return study
    reference = study.reference if study.reference in names else names[0]
    return Study({name: study.volumes[name] for name in names}, reference)


def _shipped_folder() -> Path:
    package = Path(__file__).resolve().parents[2]
    inside = package / FOLDER
    return inside if inside.is_dir() else package.parent / FOLDER
