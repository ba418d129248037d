"""A raw BIDS dataset on disk: its description, its subjects and sessions, its anatomical images. Nothing is written."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import msgspec
from pathspec import GitIgnoreSpec

from brain_edge.errors import InputError, UsageError
from brain_edge.jobs.bids.name import SESSION, SUBJECT, BidsName, is_image_name, is_label, parse_raw_name
from brain_edge.machine.json import decode_json

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

DESCRIPTION: Final = "dataset_description.json"
IGNORE: Final = ".bidsignore"
ANAT: Final = "anat"

MOST_LISTED: Final = 20
"""Names in one sentence; a dataset can have thousands."""


@dataclass(frozen=True)
class BidsImage:
    """An anatomical image of a dataset.

    Attributes:
        path: where it lies.
        relative: the same within the dataset, with "/" on every system.
        name: what its file name says.
    """

    path: Path
    relative: str
    name: BidsName


@dataclass(frozen=True)
class RawDataset:
    """A dataset that says that it is one.

    Attributes:
        folder: its root.
        description: content of `dataset_description.json`.
        ignored: what `.bidsignore` says is not BIDS.
    """

    folder: Path
    description: Mapping[str, Any]
    ignored: GitIgnoreSpec

    @property
    def name(self) -> str:
        """As it calls itself."""
        return str(self.description["Name"])

    def relative(self, path: Path) -> str:
        """A path within the dataset, with "/" on every system."""
        return path.relative_to(self.folder).as_posix()

    def labels(self, key: str, wanted: Sequence[str], subject: str = "") -> tuple[str, ...]:
        """Labels of the subjects, or of the sessions of one, without `sub-` or `ses-`.

        Raises:
            InputError: a folder `sub-...` is no subject; not where some are wanted, and no others are judged.
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
        InputError: there is no such folder, no description, it cannot be read, or the dataset is not raw.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: expected the folder of a BIDS dataset, there is none; check the path")
    path = folder / DESCRIPTION
    if not path.is_file():
        raise InputError(
            f"{folder}: expected a BIDS dataset, a folder with a {DESCRIPTION}; there is none; name the root of the "
            "dataset, or describe it first (Name and BIDSVersion)"
        )
    description = _description(path)
    if description.get("DatasetType", "raw") != "raw":
        raise InputError(
            f"{path}: expected a raw dataset, its DatasetType is {description['DatasetType']!r}; name the dataset that "
            "holds the images of the scanner"
        )
    return RawDataset(folder, description, _ignore_rules(folder / IGNORE))


def find_images(dataset: RawDataset, subjects: Iterable[str] = (), sessions: Iterable[str] = ()) -> list[BidsImage]:
    """The anatomical images of a dataset, in the order of their names.

    Args:
        dataset: opened.
        subjects: labels with or without `sub-`; none means all.
        sessions: labels with or without `ses-`; none means all, and images without a session too.

    Raises:
        UsageError: a label that no name can have.
        InputError: no such subject or session, or names that are not of BIDS.
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
    """Names for a sentence; not all of them where there are many."""
    if not labels:
        return "none"
    rest = len(labels) - MOST_LISTED
    return ", ".join(labels[:MOST_LISTED]) + (f" and {rest} more" if rest > 0 else "")


def _description(path: Path) -> dict[str, Any]:
    try:
        content = decode_json(path.read_bytes(), object)
    except msgspec.DecodeError as error:
        raise InputError(f"{path}: this is not JSON ({error}); correct it") from error
    except OSError as error:
        raise InputError(f"{path}: could not be read: {error.strerror or error}") from error
    if not isinstance(content, dict) or not {"Name", "BIDSVersion"} <= content.keys():
        raise InputError(f"{path}: expected the fields Name and BIDSVersion of a BIDS dataset; add them")
    return content


def _ignore_rules(path: Path) -> GitIgnoreSpec:
    try:
        return GitIgnoreSpec.from_lines(path.read_text(encoding="utf-8-sig").splitlines() if path.is_file() else ())
    except (OSError, ValueError, re.error) as error:
        raise InputError(
            f"{path}: expected the patterns of a .gitignore in UTF-8, could not read it: {error}"
        ) from error


def _bare(labels: Iterable[str], key: str) -> tuple[str, ...]:
    """Labels without `sub-` or `ses-`, each once."""
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
        raise InputError(f"{folder}: expected folders {key}-<label> of a BIDS dataset, found none; name its root")
    return wanted or known


def _images_in(dataset: RawDataset, visit: Path, problems: list[str]) -> Iterator[BidsImage]:
    """The images of `visit/anat`; what is no name of BIDS goes to `problems`, in words."""
    problems.extend(
        f"{dataset.relative(path)}: an image lies in a folder of its type, {ANAT} for one"
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
            problems.append(f"{relative}: this name belongs into {place}{ANAT}")
            continue
        yield BidsImage(path, relative, name)


def _image_files(dataset: RawDataset, folder: Path) -> list[Path]:
    images = [path for path in _entries(folder) if is_image_name(path.name)]
    return [path for path in images if not dataset.ignored.match_file(dataset.relative(path))]


def _entries(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir()) if folder.is_dir() else []
    except OSError as error:
        raise InputError(f"{folder}: this folder could not be read: {error.strerror or error}") from error


def _require_names(problems: Iterable[str]) -> None:
    found = list(problems)
    if found:
        raise InputError(
            f"{len(found)} name{'s' if len(found) > 1 else ''} of this dataset cannot be read as BIDS: "
            f"{'; '.join(found[:5])}{' ...' if len(found) > 5 else ''}; rename, or list in {IGNORE} what is not BIDS"
        )


def _require_no_twins(folder: Path, labels: Sequence[str], key: str) -> None:
    """BIDS: labels must not differ only in upper and lower case, because not every file system tells them apart."""
    seen: dict[str, str] = {}
    for label in labels:
        other = seen.setdefault(label.casefold(), label)
        if other != label:
            raise InputError(
                f"{folder}: {key}-{other} and {key}-{label} differ only in upper and lower case, which BIDS forbids; "
                "rename one"
            )


def _require_once(images: Iterable[BidsImage]) -> None:
    """An image must not be there in two formats, or its mask would be, too."""
    seen: dict[str, BidsImage] = {}
    for image in images:
        stem = image.relative.removesuffix(image.name.extension).casefold()
        other = seen.setdefault(stem, image)
        if other is not image:
            raise InputError(
                f"{other.relative} and {image.relative} are one image twice, which BIDS forbids; remove one"
            )
