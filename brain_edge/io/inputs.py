"""What a user may name as an input, and which images that stands for."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Final

from brain_edge.errors import InputError, UsageError
from brain_edge.io.contrast_words import named
from brain_edge.machine.paths import may_be_file, require_text

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from brain_edge.image.contrast import Contrast
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


def series_of(
    inputs: Mapping[str, Path], choices: Mapping[str, str], stated: Mapping[str, tuple[Contrast, ...]]
) -> dict[str, SeriesInfo]:
    """The series that each DICOM input means, by the name of its sequence; other inputs are left out.

    Args:
        inputs: path per sequence of the model.
        choices: UID or contrast, where the user chose.
        stated: contrasts that the model was made for, by sequence: without a choice, the series of one of them is
            taken; or the only series there is of an examination that no other sequence comes from.

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
    from brain_edge.io.dicom import SeriesKind, choose_series, list_series, require_one_visit

    listed = {path: list_series(path) for path in set(dicom.values())}
    chosen = {}
    for name, path in dicom.items():
        choice = choices.get(name)
        contrast = None if choice is None else named(choice)
        volumes = sum(info.kind is SeriesKind.VOLUME for info in listed[path])
        is_only = [*dicom.values()].count(path) == volumes == 1
        contrasts = (contrast,) if contrast else () if is_only else stated.get(name, ())
        chosen[name] = choose_series(listed[path], uid=None if contrast else choice, contrasts=contrasts)
    require_one_visit(list(chosen.values()))
    if len({info.uid for info in chosen.values()}) < len(chosen):
        raise UsageError(f"one series was chosen for two of {', '.join(chosen)}; choose a series for each")
    return chosen


def _names_in(folder: Path) -> list[str]:
    try:
        return [path.name for path in folder.iterdir()]
    except OSError as error:
        raise InputError(f"{folder}: this folder could not be read: {error.strerror}") from error
