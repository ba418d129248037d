"""The manifest of a cohort: which images of which patients, what they may be used for, and their hashes.

A manifest is a TOML file; the images stay where they are. It is read strictly: an unknown field, a missing
hash, a subject in two splits or a case that is there twice is refused when the file is read, before any
image is opened.
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
from brain_edge.package.digest import Sha256
from brain_edge.spec import Name, Value, canonical_json

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

Words = Annotated[str, Meta(min_length=1)]
ForeignLabel = Annotated[str, Meta(pattern=r"^[1-9][0-9]{0,8}$")]
"""A whole number as text: what a key of a TOML table is."""

OwnLabel = Annotated[int, Meta(ge=0, le=255)]


class Split(StrEnum):
    """What a case may be used for; a subject belongs to one split only."""

    CALIBRATION = "calibration"
    """Ranges of activations are taken from it; needs no reference mask."""
    VALIDATION = "validation"
    """The search for INT8 settings judges its trials on it."""
    TEST = "test"
    """Looked at once, after every choice is made; only this says something about new patients."""


class FileEntry(Value, frozen=True, kw_only=True):
    """One file of a case.

    Attributes:
        source: a path relative to the manifest, `$VARIABLE/path` or `pypi:NAME==VERSION#path/in/archive`.
        sha256: of its bytes; checked each time before the file is used.
    """

    source: Words
    sha256: Sha256


class CaseEntry(Value, frozen=True, kw_only=True):
    """One thing to segment: the images of one subject at one visit.

    Attributes:
        subject: the person; splits are disjoint by it.
        visit: which visit, and which image of it where several are cases of their own.
        split: what the case may be used for.
        inputs: sequence name -> image. A model of one channel takes a case of one image whatever its name.
        reference: label map on the grid of the case's first sequence (in the order of the cohort's list).
        licence: where it differs from the cohort's.
    """

    subject: Words
    visit: str = ""
    split: Split
    inputs: Annotated[dict[Name, FileEntry], Meta(min_length=1)]
    reference: FileEntry | None = None
    licence: Words | None = None

    @property
    def title(self) -> str:
        """What messages call the case: subject, visit and sequences."""
        return " ".join(part for part in (self.subject, self.visit, "+".join(self.inputs)) if part)


class CohortManifest(Value, frozen=True, kw_only=True):
    """A whole manifest.

    Attributes:
        name: how commands and reports call the cohort.
        title: one line for readers.
        licence: of the images; a case may override it.
        citation: what to cite when the images were used.
        demo: one subject may be in several splits; results say "demonstration" and nothing about accuracy.
        synthetic: the images are made, not measured; results say so.
        sequences: every sequence name, the one that gives the grid of a case first.
        labels: value in the reference files -> label of the model; 0 means "background". Where it is given,
            a value that it does not list is refused; where it is empty, values are taken as they are.
        cases: in the order of their pseudonymous numbers.
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
        """`labels` as numbers."""
        return {int(value): label for value, label in self.labels.items()}

    @property
    def sha256(self) -> str:
        """Of the canonical content: comments and layout of the file do not count, everything else does."""
        return hashlib.sha256(canonical_json(self)).hexdigest()


def read_manifest(path: Path) -> CohortManifest:
    """Read a manifest and check that its cases go together.

    Raises:
        InputError: no such file, no TOML, an unknown or missing field, or cases that do not go together.
    """
    try:
        return parse_manifest(path.read_text(encoding="utf-8"), str(path))
    except OSError as error:
        raise InputError(f"{path}: expected a cohort manifest, cannot read it ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: expected a cohort manifest (TOML in UTF-8), this is no text") from error


def parse_manifest(text: str, where: str) -> CohortManifest:
    """A manifest from the text of a TOML file; errors as in `read_manifest`, which name `where`."""
    try:
        manifest = msgspec.convert(tomllib.loads(text), CohortManifest)
    except msgspec.ValidationError as error:
        raise InputError(f"{where}: not a cohort manifest that this version reads: {error}") from error
    except (ValueError, RecursionError) as error:  # also of a number of 5000 digits, or brackets within brackets
        raise InputError(f"{where}: expected a cohort manifest in TOML: {error}") from error
    for problem in _problems(manifest):
        raise InputError(f"{where}: {problem}")
    return manifest


def _problems(manifest: CohortManifest) -> Iterator[str]:
    """What does not go together, in words; the first one is raised."""
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
    """What the spellings of a subject have in common.

    "Patient01" and "patient01 " are one person, and so is a name whose accents a system writes apart.
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
                f"the subject {case.subject} is in the splits {' and '.join(seen)}; accuracy on a person "
                "whom the model was tuned on says nothing about others: give each subject one split "
                "(or set `demo = true`, and results are marked as a demonstration)"
            )


def _repeated_cases(manifest: CohortManifest) -> Iterator[str]:
    seen: set[tuple[str, str, Split | None, frozenset[str]]] = set()
    for case in manifest.cases:
        split = case.split if manifest.demo else None
        key = (case.subject, case.visit, split, frozenset(case.inputs))
        if key in seen:
            yield f"the case {case.title} is there twice; remove one of them or give them different visits"
        seen.add(key)


def _repeated_images(manifest: CohortManifest) -> Iterator[str]:
    owners: dict[tuple[str, Split | None], str] = {}
    for case in manifest.cases:
        for name, image in case.inputs.items():
            key = (image.sha256, case.split if manifest.demo else None)
            if key in owners:
                yield (
                    f"{owners[key]} and {name} of {case.title} are the same image; an image counted twice "
                    "weighs double, or leaks from one split into another: remove one of them"
                )
            owners[key] = f"{name} of {case.title}"
