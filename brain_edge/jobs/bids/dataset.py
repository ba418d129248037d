"""Read a raw BIDS dataset: its description, subjects, sessions and anatomical images. Nothing is written."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import msgspec
from pathspec import GitIgnoreSpec

from brain_edge.errors import InputError, UsageError
from brain_edge.jobs.bids.name import SESSION, SUBJECT, BidsName, is_image_name, is_label, parse_raw_name
from brain_edge.machine.json import decode_json
from brain_edge.machine.paths import read_small

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

DESCRIPTION: Final = "dataset_description.json"
IGNORE: Final = ".bidsignore"
ANAT: Final = "anat"

MOST_LISTED: Final = 20
"""Maximum number of names in one sentence; a dataset can have thousands."""


@dataclass(frozen=True)
class BidsImage:
    """Anatomical image of a dataset.

    Attributes:
        path: path of the file.
        relative: path within the dataset, with "/" on every system.
        name: parsed file name.
    """

    path: Path
    relative: str
    name: BidsName


@dataclass(frozen=True)
class RawDataset:
    """Raw dataset with a valid description.

    Attributes:
        folder: root of the dataset.
        description: content of `dataset_description.json`.
        ignored: patterns of `.bidsignore` for files that are not BIDS.
    """

    folder: Path
    description: Mapping[str, Any]
    ignored: GitIgnoreSpec

    @property
    def name(self) -> str:
        """Name of the dataset in its description."""
        return str(self.description["Name"])

    def relative(self, path: Path) -> str:
        """Return a path relative to the dataset, with "/" on every system."""
        return path.relative_to(self.folder).as_posix()

    def labels(self, key: str, wanted: Sequence[str], subject: str = "") -> tuple[str, ...]:
        """Return the labels of the subjects, or of the sessions of one subject, without `sub-` or `ses-`.

        Raises:
            InputError: a label is invalid (checked only if `wanted` is empty), or two labels differ only in case.
        """
        folder = self.folder / f"{SUBJECT}-{subject}" if subject else self.folder
        there = [path for path in _entries(folder) if path.name.startswith(f"{key}-") and path.is_dir()]
        folders = [path for path in there if not self.ignored.match_file(f"{self.relative(path)}/")]
        labels = {path.name.removeprefix(f"{key}-"): path for path in folders}
        named = tuple(filter(is_label, labels))
        if not wanted:
            _require_names(
                f"{self.relative(path)}: expected letters and digits after {key}-"
                for label, path in labels.items()
                if label not in named
            )
        _require_no_twins(folder, [label for label in named if not wanted or label in wanted], key)
        return named


def open_dataset(folder: Path) -> RawDataset:
    """Open a raw BIDS dataset.

    Raises:
        InputError: the folder or its description is missing or cannot be read, or the dataset is not raw.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: expected the folder of a BIDS dataset, found none; check the path")
    path = folder / DESCRIPTION
    if not path.is_file():
        raise InputError(
            f"{folder}: expected a BIDS dataset with a {DESCRIPTION}, found none; name the root of the dataset, or "
            "add the file with Name and BIDSVersion"
        )
    description = _description(path)
    if description.get("DatasetType", "raw") != "raw":
        raise InputError(
            f"{path}: expected a raw dataset, got the DatasetType {description['DatasetType']!r}; name the dataset "
            "with the images of the scanner"
        )
    return RawDataset(folder, description, _ignore_rules(folder / IGNORE))


def find_images(dataset: RawDataset, subjects: Iterable[str] = (), sessions: Iterable[str] = ()) -> list[BidsImage]:
    """Find the anatomical images of a dataset, sorted by name.

    Args:
        dataset: the opened dataset.
        subjects: labels with or without `sub-`; empty means all.
        sessions: labels with or without `ses-`; empty means all, and also images without a session.

    Raises:
        UsageError: a label has an invalid form.
        InputError: a subject or session does not exist, or a name does not follow BIDS.
    """
    asked, wanted = _bare(subjects, SUBJECT), _bare(sessions, SESSION)
    chosen = _chosen(dataset.folder, dataset.labels(SUBJECT, asked), asked, SUBJECT)
    by_subject = {subject: dataset.labels(SESSION, wanted, subject) for subject in chosen}
    known = tuple(dict.fromkeys(session for labels in by_subject.values() for session in labels))
    if wanted:
        _chosen(dataset.folder, tuple(sorted(known)), wanted, SESSION)
    problems: list[str] = []
    images: list[BidsImage] = []
    for subject, labels in by_subject.items():
        folder = dataset.folder / f"{SUBJECT}-{subject}"
        visits = [folder / f"{SESSION}-{label}" for label in labels if not wanted or label in wanted]
        for visit in visits if wanted else [folder, *visits]:
            images.extend(_images_in(dataset, visit, problems))
    _require_names(problems)
    _require_once(images)
    return images


def listed(labels: Sequence[str]) -> str:
    """Return names for a sentence, shortened after `MOST_LISTED`."""
    if not labels:
        return "none"
    rest = len(labels) - MOST_LISTED
    return ", ".join(labels[:MOST_LISTED]) + (f" and {rest} more" if rest > 0 else "")


def _description(path: Path) -> dict[str, Any]:
    try:
        content = decode_json(read_small(path), object)
    except msgspec.DecodeError as error:
        raise InputError(f"{path}: expected JSON ({error}); correct the file") from error
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error}); check its permissions") from error
    if not isinstance(content, dict) or not {"Name", "BIDSVersion"} <= content.keys():
        raise InputError(f"{path}: expected the fields Name and BIDSVersion of a BIDS dataset; add the fields")
    return content


def _ignore_rules(path: Path) -> GitIgnoreSpec:
    try:
        return GitIgnoreSpec.from_lines(read_small(path).decode("utf-8-sig").splitlines() if path.is_file() else ())
    except (OSError, ValueError, re.error) as error:
        raise InputError(
            f"{path}: expected patterns as in .gitignore, in UTF-8, but could not read them: {error}"
        ) from error


def _bare(labels: Iterable[str], key: str) -> tuple[str, ...]:
    """Return labels without `sub-` or `ses-`, each once."""
    bare = tuple(dict.fromkeys(label.removeprefix(f"{key}-") for label in labels))
    for label in bare:
        if not is_label(label):
            raise UsageError(f"expected a label of letters and digits, with or without {key}-, got {label!r}")
    return bare


def _chosen(folder: Path, known: tuple[str, ...], wanted: tuple[str, ...], key: str) -> tuple[str, ...]:
    what = {SUBJECT: "subject", SESSION: "session"}[key]
    missing = [label for label in wanted if label not in known]
    if missing:
        raise InputError(f"{folder}: there is no {what} {', '.join(missing)}; the dataset has {listed(known)}")
    if not known:
        raise InputError(f"{folder}: expected BIDS folders {key}-<label>, found none; name the root of the dataset")
    return wanted or known


def _images_in(dataset: RawDataset, visit: Path, problems: list[str]) -> Iterator[BidsImage]:
    """Yield the images of `visit/anat`, and add a sentence to `problems` for each name that does not follow BIDS."""
    problems.extend(
        f"{dataset.relative(path)}: expected an image in a folder of its type, such as {ANAT}"
        for path in _image_files(dataset, visit)
    )
    for path in _image_files(dataset, visit / ANAT):
        relative = dataset.relative(path)
        try:
            name = parse_raw_name(path.name)
        except InputError as error:
            problems.append(f"{relative.removesuffix(path.name)}{error}")
            continue
        place = "".join(f"{key}-{name.entities[key]}/" for key in (SUBJECT, SESSION) if key in name.entities)
        if relative != f"{place}{ANAT}/{path.name}":
            problems.append(f"{relative}: expected this name in the folder {place}{ANAT}")
            continue
        yield BidsImage(path, relative, name)


def _image_files(dataset: RawDataset, folder: Path) -> list[Path]:
    images = [path for path in _entries(folder) if is_image_name(path.name)]
    return [path for path in images if not dataset.ignored.match_file(dataset.relative(path))]


def _entries(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir()) if folder.is_dir() else []
    except OSError as error:
        raise InputError(f"{folder}: cannot be read ({error.strerror or error}); check its permissions") from error


def _require_names(problems: Iterable[str]) -> None:
    found = list(problems)
    if found:
        raise InputError(
            f"{len(found)} name{'s' if len(found) > 1 else ''} of this dataset cannot be read as BIDS: "
            f"{'; '.join(found[:5])}{' ...' if len(found) > 5 else ''}; rename the files, or list them in {IGNORE}"
        )


def _require_no_twins(folder: Path, labels: Sequence[str], key: str) -> None:
    """Refuse labels that differ only in upper and lower case; BIDS forbids them, as some file systems merge them."""
    seen: dict[str, str] = {}
    for label in labels:
        other = seen.setdefault(label.casefold(), label)
        if other != label:
            raise InputError(
                f"{folder}: {key}-{other} and {key}-{label} differ only in upper and lower case, which BIDS forbids; "
                "rename one"
            )


def _require_once(images: Iterable[BidsImage]) -> None:
    """Refuse one image in two formats, which would give two masks."""
    seen: dict[str, BidsImage] = {}
    for image in images:
        stem = image.relative.removesuffix(image.name.extension).casefold()
        other = seen.setdefault(stem, image)
        if other is not image:
            raise InputError(
                f"{other.relative} and {image.relative} are one image in two formats, which BIDS forbids; remove one"
            )
