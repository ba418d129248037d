"""Create a cohort from a folder of images: find cases, split the subjects, hash files, write the manifest."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from brain_edge.errors import InputError, UsageError
from brain_edge.evaluation.cohort.cases import Cohort, found_contrast
from brain_edge.evaluation.cohort.check import RefusedCase, check_cohort
from brain_edge.evaluation.cohort.discover import find_images
from brain_edge.evaluation.cohort.manifest import CaseEntry, CohortManifest, FileEntry, Split, parse_manifest
from brain_edge.evaluation.cohort.toml import format_manifest
from brain_edge.image.contrast import takes
from brain_edge.machine.atomic import atomic_file, remove_leftovers, require_file_place
from brain_edge.machine.nearest import did_you_mean
from brain_edge.package.digest import sha256_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from brain_edge.deploy.fetch import Report
    from brain_edge.evaluation.cohort.discover import FoundImage
    from brain_edge.image.contrast import Contrast
    from brain_edge.spec import ModelSpec, Sequence

MINIMUM_SUBJECTS: Final = len(Split)
CALIBRATION_SHARE: Final = 0.2
VALIDATION_SHARE: Final = 0.3
"""Shares of the subjects; the rest, about half, is the test split, whose value grows with its subjects."""


class Grouping(StrEnum):
    """Grouping of images into cases."""

    IMAGE = "image"
    """Each image is a case, for models of one channel."""
    VISIT = "visit"
    """The images of one visit are a case, for models of several sequences."""


@dataclass(frozen=True)
class CohortPlan:
    """Options for creating a cohort from a folder.

    Attributes:
        name: name of the cohort: letters, digits and `_.+-`.
        grouping: grouping of images into cases.
        sequences: sequences to take, the first gives the grid; empty to take all that are found, which is possible only
            if each image is a case.
        mask_pattern: file name pattern of masks; see `find_images`.
        seed: seed of the split of the subjects.
        licence: licence of the images, for readers of a report.
        spec: model that the cohort is for; images of its contrasts are taken, and for several sequences they get the
            sequence names.
    """

    name: str
    grouping: Grouping = Grouping.IMAGE
    sequences: tuple[str, ...] = ()
    mask_pattern: str | None = None
    seed: int = 0
    licence: str = "not stated"
    spec: ModelSpec | None = None

    def for_model(self) -> CohortPlan:
        """Return the plan with the sequences and grouping of its model, if it has a model.

        Raises:
            UsageError: sequences or grouping were chosen beside a model.
        """
        if self.spec is None:
            return self
        if self.sequences:
            raise UsageError(f"the model {self.spec.name} determines the sequences; remove {', '.join(self.sequences)}")
        if len(self.spec.inputs) == 1:
            return self
        names = tuple(sequence.name for sequence in self.spec.inputs)
        return replace(self, sequences=names, grouping=Grouping.VISIT)


def create_cohort(folder: Path, output: Path, plan: CohortPlan, report: Report | None = None) -> Cohort:
    """Write a manifest of the images below a folder, each of which is read and checked first.

    Args:
        folder: BIDS dataset, or plain folder with one folder per subject.
        output: path of the manifest, `.toml`; sources are relative to it if it lies in or above the folder.
        plan: name, grouping, sequences, masks, seed and model.
        report: function called before each case is checked.

    Raises:
        InputError: there are too few subjects, there is no image that the model takes, or images or masks cannot be
            used; nothing is written.
        UsageError: `output` exists and is not a file, or sequences were chosen beside a model.
        OutputError: the manifest cannot be written.
    """
    require_file_place(output)
    remove_leftovers([output])
    plan = plan.for_model()
    found = find_images(folder, plan.mask_pattern)
    if plan.spec is not None:
        found = _for_model(found, plan.spec, folder, report)
    found = _wanted(found, plan, folder)
    splits = assign_splits(_subjects(found), plan.seed, folder)
    sources = _sources(found, folder, output)
    entries = [_entry(images, splits, sources) for images in _grouped(found, plan)]
    manifest = CohortManifest(
        name=plan.name,
        title=f"{len(entries)} cases of {len(splits)} subjects",
        licence=plan.licence,
        citation="",
        sequences=plan.sequences or tuple(sorted({image.sequence for image in found})),
        cases=tuple(entries),
    )
    text = format_manifest(manifest, f"Subjects were split by the seed {plan.seed}.")
    # the text is read back, so that all rules of a manifest are checked before it is written
    cohort = Cohort(str(output), output, parse_manifest(text, str(output)))
    _require_usable(cohort, report)
    with atomic_file(output) as partial:
        partial.write_text(text, encoding="utf-8", newline="\n")
    return cohort


def assign_splits(subjects: Mapping[str, bool], seed: int, folder: Path) -> dict[str, Split]:
    """Assign each subject to a split, in an order drawn from the seed.

    Subjects that lack a mask for any case come first, and so into calibration, which needs no masks. The order is that
    of a hash: it is the same on every machine and does not change when a subject is added. The borders between splits
    do change: a subject next to a border may then change its split, although existing packages have seen it in the old
    one.

    Args:
        subjects: True by subject name if every case has a reference mask.
        seed: seed of the order.
        folder: folder that messages name.

    Raises:
        InputError: there are fewer subjects than splits.
    """
    missing = MINIMUM_SUBJECTS - len(subjects)
    if missing > 0:
        raise InputError(
            f"{folder}: expected at least {MINIMUM_SUBJECTS} subjects, one for each of {', '.join(Split)}, "
            f"found {len(subjects)}: {missing} more needed"
        )
    drawn = sorted(subjects, key=lambda subject: (subjects[subject], _draw(seed, subject)))
    first = max(1, round(CALIBRATION_SHARE * len(drawn)))
    second = first + max(1, round(VALIDATION_SHARE * len(drawn)))
    parts = zip(Split, (drawn[:first], drawn[first:second], drawn[second:]), strict=True)
    return {subject: split for split, members in parts for subject in members}


def _draw(seed: int, subject: str) -> str:
    return hashlib.sha256(f"{seed}:{subject}".encode()).hexdigest()


def _for_model(
    found: Iterable[FoundImage], spec: ModelSpec, folder: Path, report: Report | None
) -> tuple[FoundImage, ...]:
    """Return the images that a model takes, by contrast (by name if it states none), renamed to its sequences.

    Images of a model with a single sequence keep the names that distinguish them in the folder.
    """
    taken = []
    for image in found:
        contrast = found_contrast(image.sequence, image.path).contrast
        name = next((each.name for each in spec.inputs if _is_for(image, contrast, each, spec)), None)
        if name is not None:
            taken.append(image if len(spec.inputs) == 1 else replace(image, sequence=name))
        elif report is not None:
            report(f"left out, {contrast or 'of unknown contrast'}: {image.path}")
    if not taken:
        wanted = ", ".join(map(str, spec.inputs))
        raise InputError(
            f"{folder}: expected images that {spec.name} takes, {wanted}, found none; choose another model"
        )
    return tuple(taken)


def _is_for(image: FoundImage, contrast: Contrast | None, sequence: Sequence, spec: ModelSpec) -> bool:
    if sequence.stated:
        return takes(sequence.stated, contrast)
    return image.sequence == sequence.name or len(spec.inputs) == 1


def _wanted(found: Iterable[FoundImage], plan: CohortPlan, folder: Path) -> tuple[FoundImage, ...]:
    images = tuple(found)
    if not plan.sequences:
        if plan.grouping is Grouping.VISIT:
            raise InputError(
                f"{folder}: expected the sequences of a visit, got none; name each with --sequence, first the one on "
                "whose grid the masks lie"
            )
        return images
    there = sorted({image.sequence for image in images})
    optional = plan.spec.optional if plan.spec else ()
    absent = [name for name in plan.sequences if name not in there and name not in optional]
    if absent:
        hint = did_you_mean(absent[0], there)
        raise InputError(f"{folder}: there is no sequence {absent[0]}; choose among {', '.join(there)}{hint}")
    return tuple(image for image in images if image.sequence in plan.sequences)


def _subjects(found: Iterable[FoundImage]) -> dict[str, bool]:
    masked: defaultdict[str, list[bool]] = defaultdict(list)
    for image in found:
        masked[image.subject].append(image.mask is not None)
    return {subject: all(masks) for subject, masks in masked.items()}


def _grouped(found: Iterable[FoundImage], plan: CohortPlan) -> tuple[tuple[FoundImage, ...], ...]:
    """Return the images of each case; the first gives the grid."""
    groups: defaultdict[tuple[str, ...], list[FoundImage]] = defaultdict(list)
    for image in found:
        own = (image.sequence, str(image.path)) if plan.grouping is Grouping.IMAGE else ()
        groups[(image.subject, image.visit, *own)].append(image)
    if plan.grouping is Grouping.IMAGE:
        return tuple(map(tuple, groups.values()))
    return tuple(_complete(images, plan) for images in groups.values())


def _complete(images: list[FoundImage], plan: CohortPlan) -> tuple[FoundImage, ...]:
    have = [image.sequence for image in images]
    optional = plan.spec.optional if plan.spec else ()
    for name in plan.sequences:
        if have.count(name) > 1 or (name not in have and name not in optional):
            where = f"{images[0].subject} {images[0].visit}".strip()
            raise InputError(
                f"{where}: expected one {name} per visit, found {have.count(name)} among {', '.join(have)}; add or "
                "remove images"
            )
    return tuple(sorted(images, key=lambda image: plan.sequences.index(image.sequence)))


def _sources(found: Iterable[FoundImage], folder: Path, output: Path) -> dict[Path, str]:
    """Return the source of each file in the manifest; links stay unresolved, since data managers move their targets."""
    root, base = folder.resolve(), output.parent.resolve()
    prefix = root.relative_to(base) if root.is_relative_to(base) else root
    paths = [path for image in found for path in (image.path, image.mask) if path is not None]
    return {path: (prefix / path.relative_to(folder)).as_posix() for path in paths}


def _entry(images: tuple[FoundImage, ...], splits: Mapping[str, Split], sources: Mapping[Path, str]) -> CaseEntry:
    first = images[0]
    if other := next((image for image in images if image.mask and first.mask is None), None):
        raise InputError(
            f"{other.mask}: expected a mask on the grid of {first.sequence}, got the grid of {other.sequence}; "
            f"name {other.sequence} first, or resample the mask"
        )
    return CaseEntry(
        subject=first.subject,
        visit=first.visit,
        split=splits[first.subject],
        inputs={image.sequence: _file(image.path, sources) for image in images},
        reference=None if first.mask is None else _file(first.mask, sources),
    )


def _file(path: Path, sources: Mapping[Path, str]) -> FileEntry:
    return FileEntry(source=sources[path], sha256=sha256_of(path))


def _require_usable(cohort: Cohort, report: Report | None) -> None:
    checked = check_cohort(cohort, report)
    refused = [case for case in checked if isinstance(case, RefusedCase)]
    if refused:
        raise InputError(
            f"{len(refused)} of {len(checked)} cases cannot be used, so no manifest was written. "
            f"The first problem: {refused[0].problem}"
        )
