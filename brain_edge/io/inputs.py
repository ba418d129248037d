"""What a user may name as an input, and which images that stands for."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Final

from brain_edge.errors import InputError, UsageError
from brain_edge.machine.paths import may_be_file, require_text

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from brain_edge.io.dicom import SeriesInfo

IMAGE_SUFFIXES: Final = (".nii.gz", ".nii", ".mgz", ".mgh")
"""What a folder is searched for; the longest of those that share an end first."""

DICOM_SUFFIX: Final = ".dcm"
"""What a DICOM output ends in, and an input that must be DICOM; other inputs are DICOM by their content."""


class InputKind(StrEnum):
    """What a path stands for."""

    IMAGE = "image"
    """One file: one sequence of one head. Whether it really is an image is for the reader to say."""
    FOLDER = "folder of images"
    """One file per head, all of the same sequence."""
    DICOM = "DICOM"
    """One examination: a folder with those below it, a zip, or one file. It may hold several series."""


def input_kind(path: Path) -> InputKind:
    """What an input is. Everything that treats kinds differently asks here.

    Images that lie in a folder themselves say what it is; DICOM may lie anywhere below it.

    Raises:
        InputError: it cannot be looked into, or its name is no text.
    """
    require_text(path)
    if path.is_dir():
        has_images = any(is_image_name(name) for name in _names_in(path))
        return InputKind.DICOM if not has_images and is_dicom(path) else InputKind.FOLDER
    return InputKind.DICOM if not is_image_name(path.name) and is_dicom(path) else InputKind.IMAGE


def is_dicom(path: Path) -> bool:
    """Whether there is DICOM: in this file, or somewhere in this folder or zip; needs no extra.

    Raises:
        InputError: it cannot be looked into.
    """
    from brain_edge.io.dicom import holds_dicom

    if not (path.is_dir() or path.is_file()):
        return False
    try:
        return (path.is_file() and path.suffix.lower() == DICOM_SUFFIX) or holds_dicom(path)
    except OSError as error:
        raise InputError(f"{path}: could not be read: {error.strerror}") from error


def images_in(folder: Path) -> tuple[Path, ...]:
    """The images of a folder by name: not those of the folders below, and no hidden files.

    Raises:
        InputError: there is none, or the folder cannot be read.
    """
    named = [folder / name for name in sorted(_names_in(folder)) if is_image_name(name)]
    images = tuple(filter(may_be_file, named))
    if not images:
        raise InputError(
            f"{folder}: expected a folder with images ({', '.join(IMAGE_SUFFIXES)}), found none in it, "
            "and no DICOM either"
        )
    return images


def folders_in(folder: Path) -> tuple[Path, ...]:
    """The folders in a folder by name, without hidden ones.

    Raises:
        InputError: the folder cannot be read.
    """
    named = (folder / name for name in sorted(_names_in(folder)) if not name.startswith("."))
    return tuple(path for path in named if path.is_dir())


def is_image_name(name: str) -> bool:
    """Whether a file is an image by its name; hidden ones are none."""
    # macOS leaves `._head.nii.gz`, which is no image, beside each file on foreign disks
    return name.lower().endswith(IMAGE_SUFFIXES) and not name.startswith(".")


def image_name(path: Path) -> str:
    """The name of an image without its suffix: `head` of `head.nii.gz`."""
    lower = path.name.lower()
    suffix = next((suffix for suffix in IMAGE_SUFFIXES if lower.endswith(suffix)), "")
    return path.name[: len(path.name) - len(suffix)]


def require_series_choice(text: str) -> None:
    """Refuse what can choose no series.

    Raises:
        UsageError: it is neither a UID nor the name of a sequence type.
    """
    from brain_edge.io.dicom.instance import UID_PATTERN
    from brain_edge.io.dicom.sequence_type import sequence_type_of

    if not (UID_PATTERN.fullmatch(text) or sequence_type_of(text)):
        raise UsageError(f"expected a series as its UID (digits and points), or T1, T1C, T2 or FLAIR, got {text!r}")


def series_of(inputs: Mapping[str, Path], choices: Mapping[str, str]) -> dict[str, SeriesInfo]:
    """The series that each DICOM input means, by the name of its sequence; other inputs are left out.

    Args:
        inputs: path per sequence of the model.
        choices: UID or sequence type, where the user chose. Without, a sequence whose name is a type (`T1`)
            takes the series of this type, and any other one (`image`) the only series there is.

    Raises:
        UsageError: a choice for an input that is no DICOM, or one series for two sequences.
        InputError: none or several series fit, one cannot be read, or they are of several studies.
        GeometryError: they are of several frames of reference.
        MissingExtraError: pydicom is not installed.
    """
    dicom = {name: path for name, path in inputs.items() if input_kind(path) is InputKind.DICOM}
    for name in choices.keys() - dicom.keys():
        raise UsageError(
            f"{inputs[name]}: a series can be chosen in DICOM only, and this is none; leave the choice out"
        )
    if not dicom:
        return {}
    from brain_edge.io.dicom import choose_series, list_series, require_one_visit
    from brain_edge.io.dicom.sequence_type import sequence_type_of

    listed = {path: list_series(path) for path in set(dicom.values())}
    chosen = {}
    for name, path in dicom.items():
        sequence = sequence_type_of(choices.get(name, name))
        chosen[name] = choose_series(listed[path], uid=None if sequence else choices.get(name), sequence=sequence)
    require_one_visit(chosen.values())
    if len({info.uid for info in chosen.values()}) < len(chosen):
        raise UsageError(f"one series was chosen for two of {', '.join(chosen)}; choose a series for each")
    return chosen


def _names_in(folder: Path) -> list[str]:
    try:
        return [path.name for path in folder.iterdir()]
    except OSError as error:
        raise InputError(f"{folder}: this folder could not be read: {error.strerror}") from error
