"""Is every case of a cohort there, unchanged, readable and there once? Asked before hours are spent on the first."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from brain_edge.engine.assembly import assemble
from brain_edge.errors import InputError
from brain_edge.evaluation.cohort.cases import found_contrast, load_case, sequences_for, study_for
from brain_edge.evaluation.cohort.manifest import person_key
from brain_edge.evaluation.cohort.sources import find_file
from brain_edge.image.identity import COPY_CORRELATION, image_sha256, likeness, thumbnail
from brain_edge.spec.plausibility import check_contrast

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from brain_edge.deploy.fetch import Report
    from brain_edge.evaluation.cohort.cases import Case, Cohort
    from brain_edge.image.contrast import Finding
    from brain_edge.image.geometry import Shape, Vector
    from brain_edge.image.volume import FloatArray, Volume
    from brain_edge.spec import ModelSpec
    from brain_edge.spec import Sequence as SequenceSpec
    from brain_edge.spec.plausibility import Flag


@dataclass(frozen=True, eq=False)
class SeenImage:
    """What an image is known by when its voxels are gone.

    Attributes:
        sha256: of the image, not of its file (`image_sha256`).
        thumbnail: as `brain_edge.image.identity.thumbnail` makes it.
    """

    sha256: str
    thumbnail: FloatArray | None

    @classmethod
    def of(cls, volume: Volume) -> SeenImage:
        """Of an image that has been read."""
        return cls(image_sha256(volume), thumbnail(volume))


@dataclass(frozen=True)
class CheckedCase:
    """What was found when a case was read as a whole.

    Attributes:
        case: which one.
        shape, spacing_mm: of the grid.
        labels: values of the reference mask after relabelling, without background; None without a mask.
        images: sequence name -> what its image is known by.
        foreign: images that were found to have another contrast than the sequence of the model was made for.
    """

    case: Case
    shape: Shape
    spacing_mm: Vector
    labels: tuple[int, ...] | None
    images: Mapping[str, SeenImage]
    foreign: tuple[tuple[SequenceSpec, Finding], ...] = ()

    @property
    def flags(self) -> tuple[Flag, ...]:
        """On the images of another contrast."""
        return tuple(flag for pair in self.foreign if (flag := check_contrast(*pair)) is not None)

    @property
    def hashes(self) -> frozenset[str]:
        """Of its images."""
        return frozenset(image.sha256 for image in self.images.values())


@dataclass(frozen=True)
class RefusedCase:
    """A case that cannot be used, and why, in one sentence."""

    case: Case
    problem: str


def check_case(case: Case, spec: ModelSpec | None = None) -> CheckedCase:
    """Read one case as it will be used, and let go of it.

    Args:
        case: files, hashes, image contents and the grid of the mask are checked.
        spec: the model that will run; its sequences, their overlap, contrasts and labels are checked too.

    Raises:
        InputError: the case cannot be used.
    """
    study, mask = load_case(case)
    foreign: tuple[tuple[SequenceSpec, Finding], ...] = ()
    labels = None if mask is None else tuple(int(value) for value in np.unique(mask.labels) if value)
    if spec is not None:
        grid = assemble(study_for(study, spec), spec).geometry
        foreign = tuple(_foreign(case, spec))
        if mask is not None and not mask.geometry.same_grid(grid):
            raise InputError(
                f"{case.title}: the reference mask lies on the grid of {study.reference}, an image that "
                f"{spec.name} does not take, and {spec.name} answers on another grid; list "
                f"{spec.inputs[0].name} first in the cohort's `sequences`, with masks on its grid"
            )
        _require_declared(case, labels or (), spec)
        if labels == () and not spec.may_be_empty:
            raise InputError(
                f"{case.title}: the reference mask is empty, which that of {spec.name} never is; correct it, or leave "
                "it out of the cohort"
            )
    images = {name: SeenImage.of(volume) for name, volume in study.volumes.items()}
    return CheckedCase(case, study.geometry.shape, study.geometry.spacing_mm, labels, images, foreign)


def check_cohort(
    cohort: Cohort, report: Report | None = None, spec: ModelSpec | None = None
) -> tuple[CheckedCase | RefusedCase, ...]:
    """Check every case of a cohort, for a model if there is one; no problem of a case hides those of the others."""
    seen: list[_Known] = []
    return tuple(_checked(case, spec, seen) for case in told("checking", cohort.cases(), report))


def require_cases(cases: Sequence[Case], spec: ModelSpec, report: Report | None = None) -> tuple[CheckedCase, ...]:
    """Check that a model can run on all of these cases, before it runs on the first one.

    Raises:
        InputError: the first case that cannot be used with this model, or whose image is that of a case before it.
    """
    seen: list[_Known] = []
    return tuple(_once(check_case(case, spec), seen) for case in told("checking", cases, report))


def distinct_cases(cases: Iterable[CheckedCase]) -> tuple[CheckedCase, ...]:
    """The cases without those whose images a demonstration lists again."""
    first: dict[frozenset[str], CheckedCase] = {}
    for case in cases:
        first.setdefault(case.hashes, case)
    return tuple(first.values())


def limits_of_contrast(cases: Sequence[CheckedCase], spec: ModelSpec) -> Iterator[str]:
    """What figures on these cases do not say, because images have another contrast; under numbers, without names."""
    numbers: dict[tuple[SequenceSpec, str], list[int]] = {}
    for each in cases:
        for sequence, found in each.foreign:
            numbers.setdefault((sequence, str(found.contrast)), []).append(each.case.number)
    for (sequence, contrast), those in numbers.items():
        yield (
            f"{spec.name} was made for {' or '.join(sequence.stated)} as {sequence.name}, but that of case(s) "
            f"{', '.join(map(str, those))} is {contrast}: figures on them are not about images that it was made for."
        )


def told(doing: str, cases: Sequence[Case], report: Report | None) -> Iterator[Case]:
    """The cases one after the other, each said (in a word: what is done with it) before its turn."""
    for position, case in enumerate(cases, start=1):
        if report is not None:
            report(f"{doing} case {position} of {len(cases)}: {case.title}")
        yield case


def _checked(case: Case, spec: ModelSpec | None, seen: list[_Known]) -> CheckedCase | RefusedCase:
    try:
        return _once(check_case(case, spec), seen)
    except InputError as error:
        return RefusedCase(case, str(error))


def _once(checked: CheckedCase, seen: list[_Known]) -> CheckedCase:
    """The case, whose images are remembered, if none of them was seen before."""
    for name, image in () if checked.case.demo else checked.images.items():
        _require_new((checked.case, name, image), seen)
        seen.append((checked.case, name, image))
    return checked


def _require_new(new: _Known, seen: Sequence[_Known]) -> None:
    case, name, image = new
    remedy = "or say `demo = true` in the cohort, and results are marked as a demonstration"
    for other, other_name, known in seen:
        both = f"{name} of {case.title} and {other_name} of {other.title}"
        if image.sha256 == known.sha256:
            raise InputError(
                f"{both} are the same image, voxel by voxel, whatever their files look like; an image counted twice "
                f"weighs double, or leaks from one split into another: remove one of them, {remedy}"
            )
        if person_key(case.entry.subject) == person_key(other.entry.subject):
            continue
        alike = likeness(image.thumbnail, known.thumbnail)
        if alike > COPY_CORRELATION:
            raise InputError(
                f"{both} are one head under two subjects (correlation {alike:.4f}; that of two people is below "
                f"{COPY_CORRELATION:g}), stored, scaled or resampled in another way: remove one of them, give both the "
                f"same subject if they are two images of one person, {remedy}"
            )


def _foreign(case: Case, spec: ModelSpec) -> Iterator[tuple[SequenceSpec, Finding]]:
    for name, sequence in sequences_for(list(case.inputs), spec).items():
        found = found_contrast(name, find_file(case.inputs[name], case.folder, case.cohort))
        if check_contrast(sequence, found) is not None:
            yield sequence, found


_Known: TypeAlias = tuple["Case", str, SeenImage]
"""Case, sequence and what its image is known by."""


def _require_declared(case: Case, labels: tuple[int, ...], spec: ModelSpec) -> None:
    undeclared = sorted(set(labels) - set(spec.label_names()))
    if undeclared:
        names = ", ".join(f"{value} {name}" for value, name in spec.label_names().items())
        raise InputError(
            f"{case.title}: the reference mask holds the label {undeclared[0]}, but {spec.name} has {names}; "
            "say in the cohort's `labels` what the values of its masks mean"
        )
