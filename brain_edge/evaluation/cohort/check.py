"""Check that every case of a cohort is present, unchanged, readable and unique, before hours are spent on the first."""

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
from brain_edge.image.volume import Study
from brain_edge.spec.model import Task
from brain_edge.spec.plausibility import check_contrast
from brain_edge.spec.stripped import check_stripped

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
    """Identity of an image, kept after its voxels are released.

    Attributes:
        sha256: hash of the image, not of its file (`image_sha256`).
        thumbnail: result of `brain_edge.image.identity.thumbnail`.
    """

    sha256: str
    thumbnail: FloatArray | None

    @classmethod
    def of(cls, volume: Volume) -> SeenImage:
        """Return the identity of an image that has been read."""
        return cls(image_sha256(volume), thumbnail(volume))


@dataclass(frozen=True)
class CheckedCase:
    """Findings about a case after it was read as a whole.

    Attributes:
        case: case that was checked.
        shape, spacing_mm: sides in voxels and spacing in mm of the grid.
        labels: values of the reference mask after relabelling, without background; None without a mask.
        images: identity of each image by sequence name.
        foreign: images with another contrast than the model was made for, with their sequences.
        stripped: flag on a head without its skull, for a skull-stripper; None otherwise.
    """

    case: Case
    shape: Shape
    spacing_mm: Vector
    labels: tuple[int, ...] | None
    images: Mapping[str, SeenImage]
    foreign: tuple[tuple[SequenceSpec, Finding], ...] = ()
    stripped: Flag | None = None

    @property
    def flags(self) -> tuple[Flag, ...]:
        """Flags on images of another contrast, and on a head without its skull."""
        contrasts = tuple(flag for pair in self.foreign if (flag := check_contrast(*pair)) is not None)
        return contrasts if self.stripped is None else (*contrasts, self.stripped)

    @property
    def hashes(self) -> frozenset[str]:
        """Hashes of the case's images."""
        return frozenset(image.sha256 for image in self.images.values())


@dataclass(frozen=True)
class RefusedCase:
    """A case that cannot be used, with the reason in one sentence."""

    case: Case
    problem: str


def check_case(case: Case, spec: ModelSpec | None = None) -> CheckedCase:
    """Read one case as it will be used, and release it.

    Args:
        case: case whose files, hashes, image contents and mask grid are checked.
        spec: model that will run; sequences, overlap, contrasts and labels are then checked too.

    Raises:
        InputError: the case cannot be used.
    """
    study, mask = load_case(case)
    foreign: tuple[tuple[SequenceSpec, Finding], ...] = ()
    stripped = None
    labels = None if mask is None else tuple(int(value) for value in np.unique(mask.labels) if value)
    if spec is not None:
        given = study_for(study, spec)
        # a preparation registers the sequences, so that their headers need not agree
        grid = given.geometry if spec.preparation else assemble(given, spec).geometry
        foreign = tuple(_foreign(case, spec))
        if spec.task is Task.SKULL_STRIPPING:
            seen = given if isinstance(given, Study) else Study({spec.inputs[0].name: given}, spec.inputs[0].name)
            stripped = next(iter(check_stripped(seen, spec)), None)
        if mask is not None and not mask.geometry.same_grid(grid):
            raise InputError(
                f"{case.title}: expected a reference mask on the grid of {spec.inputs[0].name}, "
                f"got the grid of {study.reference}, which {spec.name} does not take. "
                f"List {spec.inputs[0].name} first in the cohort's `sequences`, with masks on its grid"
            )
        _require_declared(case, labels or (), spec)
        if labels == () and not spec.may_be_empty:
            raise InputError(
                f"{case.title}: expected a reference mask that is not empty for {spec.name}, got an empty mask; "
                "correct it, or remove it from the cohort"
            )
    images = {name: SeenImage.of(volume) for name, volume in study.volumes.items()}
    return CheckedCase(case, study.geometry.shape, study.geometry.spacing_mm, labels, images, foreign, stripped)


def check_cohort(
    cohort: Cohort, report: Report | None = None, spec: ModelSpec | None = None
) -> tuple[CheckedCase | RefusedCase, ...]:
    """Check every case of a cohort, also for a model if one is given; a refused case does not stop the check."""
    seen: list[_Known] = []
    return tuple(_checked(case, spec, seen) for case in told("checking", cohort.cases(), report))


def require_cases(cases: Sequence[Case], spec: ModelSpec, report: Report | None = None) -> tuple[CheckedCase, ...]:
    """Check that a model can run on all of these cases, before it runs on the first one.

    Raises:
        InputError: a case cannot be used with this model, or has the same image as an earlier case.
    """
    seen: list[_Known] = []
    return tuple(_once(check_case(case, spec), seen) for case in told("checking", cases, report))


def distinct_cases(cases: Iterable[CheckedCase]) -> tuple[CheckedCase, ...]:
    """Return the cases without repetitions of images, which only a demonstration has."""
    first: dict[frozenset[str], CheckedCase] = {}
    for case in cases:
        first.setdefault(case.hashes, case)
    return tuple(first.values())


def limits_of_images(cases: Sequence[CheckedCase], spec: ModelSpec) -> Iterator[str]:
    """Yield the limits of figures on images that the model was not made for, by case number, without names."""
    numbers: dict[tuple[SequenceSpec, str], list[int]] = {}
    for each in cases:
        for sequence, found in each.foreign:
            numbers.setdefault((sequence, str(found.contrast)), []).append(each.case.number)
    for (sequence, contrast), those in numbers.items():
        yield (
            f"{spec.name} was made for {' or '.join(sequence.stated)} as {sequence.name}, but case(s) "
            f"{', '.join(map(str, those))} have {contrast}: their figures do not hold for images it was made for."
        )
    if without := [each.case.number for each in cases if each.stripped is not None]:
        yield (
            f"{spec.name} was made for heads with their skull, but case(s) {', '.join(map(str, without))} look already "
            "skull-stripped: their figures do not hold for images it was made for."
        )


def told(doing: str, cases: Sequence[Case], report: Report | None) -> Iterator[Case]:
    """Yield the cases one after the other, and report each before its turn; `doing` is the verb of the report."""
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
    """Return the case and record its images, if none of them was seen before."""
    for name, image in () if checked.case.demo else checked.images.items():
        _require_new((checked.case, name, image), seen)
        seen.append((checked.case, name, image))
    return checked


def _require_new(new: _Known, seen: Sequence[_Known]) -> None:
    case, name, image = new
    remedy = "or set `demo = true` in the cohort (results are then marked as a demonstration)"
    for other, other_name, known in seen:
        both = f"{name} of {case.title} and {other_name} of {other.title}"
        if image.sha256 == known.sha256:
            raise InputError(
                f"{both} are the same image, voxel by voxel; an image counted twice weighs double or leaks between "
                f"splits. Remove one of them, {remedy}"
            )
        if person_key(case.entry.subject) == person_key(other.entry.subject):
            continue
        alike = likeness(image.thumbnail, known.thumbnail)
        if alike > COPY_CORRELATION:
            raise InputError(
                f"{both} are one head under two subjects "
                f"(correlation {alike:.4f}, expected below {COPY_CORRELATION:g} for two people). "
                f"Remove one of them, give both the same subject if they show one person, {remedy}"
            )


def _foreign(case: Case, spec: ModelSpec) -> Iterator[tuple[SequenceSpec, Finding]]:
    for name, sequence in sequences_for(list(case.inputs), spec).items():
        found = found_contrast(name, find_file(case.inputs[name], case.folder, case.cohort))
        if check_contrast(sequence, found) is not None:
            yield sequence, found


_Known: TypeAlias = tuple["Case", str, SeenImage]
"""Case, sequence and identity of its image."""


def _require_declared(case: Case, labels: tuple[int, ...], spec: ModelSpec) -> None:
    undeclared = sorted(set(labels) - set(spec.label_names()))
    if undeclared:
        names = ", ".join(f"{value} {name}" for value, name in spec.label_names().items())
        raise InputError(
            f"{case.title}: expected the labels of {spec.name} ({names}) in the reference mask, "
            f"got {undeclared[0]}; map the values of the masks in the cohort's `labels`"
        )
