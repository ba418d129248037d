"""Manifest of a cohort: the images of each patient, their permitted use, and their hashes.

A manifest is a TOML file; the images stay where they are. It is read strictly, before any image is opened: an unknown
field, a missing hash, a subject in two splits or a repeated case is refused.
"""

from __future__ import annotations

import hashlib
import tomllib
import unicodedata
from collections import defaultdict
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import msgspec
from msgspec import Meta

from brain_edge.errors import InputError
from brain_edge.machine.json import convert_plain
from brain_edge.machine.paths import read_small
from brain_edge.package.digest import Sha256
from brain_edge.spec import Name, Value, canonical_json
from brain_edge.spec.problems import Problem, problems_of, refusal

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

Words = Annotated[str, Meta(min_length=1)]
ForeignLabel = Annotated[str, Meta(pattern=r"^[1-9][0-9]{0,8}$")]
"""Whole number as text, because keys of a TOML table are text."""

OwnLabel = Annotated[int, Meta(ge=0, le=255)]


class Split(StrEnum):
    """Permitted use of a case; a subject belongs to only one split."""

    CALIBRATION = "calibration"
    """Source of activation ranges; needs no reference mask."""
    VALIDATION = "validation"
    """Judgement of trials in the search for INT8 settings."""
    TEST = "test"
    """Final judgement, used once after every choice is made; only this split is valid for new patients."""


class FileEntry(Value, frozen=True, kw_only=True):
    """One file of a case.

    Attributes:
        source: path relative to the manifest, `$VARIABLE/path` or `pypi:NAME==VERSION#path/in/archive`.
        sha256: hash of the file's bytes; checked each time before the file is used.
    """

    source: Words
    sha256: Sha256


class CaseEntry(Value, frozen=True, kw_only=True):
    """One case to segment: the images of one subject at one visit.

    Attributes:
        subject: name of the person; no person is in two splits.
        visit: name of the visit, also of the image if several images of a visit are separate cases.
        split: permitted use of the case.
        inputs: image by sequence name. A model of one channel takes a case of one image of any name.
        reference: label map on the grid of the case's first sequence (in the order of the cohort's list).
        licence: licence of the images if it differs from the cohort's.
    """

    subject: Words
    visit: str = ""
    split: Split
    inputs: Annotated[dict[Name, FileEntry], Meta(min_length=1)]
    reference: FileEntry | None = None
    licence: Words | None = None

    @property
    def title(self) -> str:
        """Name of the case in messages: subject, visit and sequences."""
        return " ".join(part for part in (self.subject, self.visit, "+".join(self.inputs)) if part)


class CohortManifest(Value, frozen=True, kw_only=True):
    """A whole manifest.

    Attributes:
        name: name of the cohort in commands and reports.
        title: one line for readers.
        licence: licence of the images; a case may override it.
        citation: reference to cite when the images were used.
        demo: True if one subject may be in several splits; results say "demonstration" and nothing about accuracy.
        synthetic: True if the images are synthetic; results say so.
        sequences: all sequence names; the first gives the grid of a case.
        labels: label of the model for each value in the reference files; 0 means "background". A value that is not
            listed is refused. If the table is empty, values are kept.
        cases: cases in the order of their pseudonymous numbers.
    """

    name: Name
    title: Words
    licence: Words
    citation: str
    demo: bool = False
    synthetic: bool = False
    sequences: Annotated[tuple[Name, ...], Meta(min_length=1)]
    labels: dict[ForeignLabel, OwnLabel] = msgspec.field(default_factory=dict)
    cases: Annotated[tuple[CaseEntry, ...], Meta(min_length=1)] = msgspec.field(name="case")

    @property
    def relabelling(self) -> dict[int, int]:
        """Return `labels` as numbers."""
        return {int(value): label for value, label in self.labels.items()}

    @property
    def sha256(self) -> str:
        """SHA-256 of the canonical content, without the comments and layout of the file."""
        return hashlib.sha256(canonical_json(self)).hexdigest()


def read_manifest(path: Path) -> CohortManifest:
    """Read a manifest and check that its cases are consistent.

    Raises:
        InputError: the file is missing or is not TOML, a field is unknown or missing, or the cases are inconsistent.
    """
    try:
        return parse_manifest(read_small(path).decode("utf-8-sig"), str(path))
    except OSError as error:
        raise InputError(
            f"{path}: expected a cohort manifest, could not read it ({error.strerror}); check its path and permissions"
        ) from error
    except UnicodeDecodeError as error:
        raise InputError(
            f"{path}: expected a cohort manifest (TOML in UTF-8), got a file that is not text; give another file"
        ) from error


def parse_manifest(text: str, where: str) -> CohortManifest:
    """Parse the text of a TOML file as a manifest; errors are those of `read_manifest` and name `where`."""
    try:
        plain = tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # also of a number of 5000 digits, or brackets within brackets
        raise InputError(f"{where}: expected a cohort manifest in TOML: {error}") from error
    try:
        manifest = convert_plain(plain, CohortManifest)
    except msgspec.ValidationError as error:
        faults = problems_of(plain, CohortManifest) or (Problem("", str(error)),)
        raise refusal(InputError, f"{where}: expected a cohort manifest that this version reads", faults) from error
    if problems := [Problem("", words) for words in _problems(manifest)]:
        raise refusal(InputError, where, problems)
    return manifest


def _problems(manifest: CohortManifest) -> Iterator[str]:
    """Yield the inconsistencies of a manifest in words; the first is raised."""
    yield from _unlisted_sequences(manifest)
    if not manifest.demo:
        yield from _shared_subjects(manifest)
    yield from _repeated_cases(manifest)
    yield from _repeated_images(manifest)


def _unlisted_sequences(manifest: CohortManifest) -> Iterator[str]:
    for case in manifest.cases:
        unlisted = sorted(set(case.inputs) - set(manifest.sequences))
        if unlisted:
            yield (
                f"{case.title} has the sequence {unlisted[0]}, which `sequences` does not list "
                f"({', '.join(manifest.sequences)}); add it there or rename the input"
            )


def person_key(subject: str) -> str:
    """Return a key that all spellings of a subject share.

    "Patient01" and "patient01 " are one person, as is a name whose accents are stored as separate characters.
    """
    return unicodedata.normalize("NFC", subject.strip()).casefold()


def _shared_subjects(manifest: CohortManifest) -> Iterator[str]:
    splits: defaultdict[str, list[Split]] = defaultdict(list)
    for case in manifest.cases:
        seen = splits[person_key(case.subject)]
        if case.split not in seen:
            seen.append(case.split)
        if len(seen) > 1:
            yield (
                f"the subject {case.subject} is in the splits {' and '.join(seen)}; "
                "accuracy on a person whom the model was tuned on says nothing about others. "
                "Give each subject one split (or set `demo = true`; results are then marked as a demonstration)"
            )


def _repeated_cases(manifest: CohortManifest) -> Iterator[str]:
    seen: set[tuple[str, str, Split | None, frozenset[str]]] = set()
    for case in manifest.cases:
        split = case.split if manifest.demo else None
        key = (case.subject, case.visit, split, frozenset(case.inputs))
        if key in seen:
            yield f"the case {case.title} occurs twice; remove one of them or give them different visits"
        seen.add(key)


def _repeated_images(manifest: CohortManifest) -> Iterator[str]:
    owners: dict[tuple[str, Split | None], str] = {}
    for case in manifest.cases:
        for name, image in case.inputs.items():
            key = (image.sha256, case.split if manifest.demo else None)
            if key in owners:
                yield (
                    f"{owners[key]} and {name} of {case.title} are the same image; an image counted twice "
                    "weighs double or leaks between splits. Remove one of them"
                )
            owners[key] = f"{name} of {case.title}"
