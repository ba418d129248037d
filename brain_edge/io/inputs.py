"""Inputs that a user may name, and the images in each of them."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Final

from brain_edge.errors import InputError, UsageError
from brain_edge.io.contrast_words import named
from brain_edge.machine.paths import may_be_file, require_text

if TYPE_CHECKING:
    from collections.abc import Mapping

    from brain_edge.image.contrast import Contrast
    from brain_edge.io.dicom import SeriesInfo

IMAGE_SUFFIXES: Final = (".nii.gz", ".nii", ".mgz", ".mgh")
"""Suffixes of images in a folder; of suffixes with the same end, the longest comes first."""

MASK_ENDS: Final = ("_mask", "_brainmask", "_seg", "_dseg")
"""Ends of the names of masks and label maps, which are no images of a folder."""

DICOM_SUFFIX: Final = ".dcm"
"""Suffix of a DICOM output, and of an input that must be DICOM; other inputs are recognised by their content."""


class InputKind(StrEnum):
    """Kind of input at a path."""

    IMAGE = "image"
    """One file with one sequence of one head. Only the reader checks that it is an image."""
    FOLDER = "folder of images"
    """One file per head, all of the same sequence."""
    DICOM = "DICOM"
    """One examination: a folder with its subfolders, a zip, or one file. It may contain several series."""


def input_kind(path: Path, *, dicom: bool = False) -> InputKind:
    """Return the kind of an input. All code that treats kinds differently uses this function.

    A folder that directly contains images is a folder of images. DICOM may lie anywhere below a folder.

    Args:
        path: path of the input.
        dicom: True if other options mean DICOM (a series, a DICOM output): images in its folder are then left out.

    Raises:
        InputError: the input cannot be read, or its name is not text.
    """
    require_text(path)
    if path.is_dir():
        has_images = any(is_image_name(name) for name in _names_in(path))
        return InputKind.DICOM if (dicom or not has_images) and is_dicom(path) else InputKind.FOLDER
    return InputKind.DICOM if not is_image_name(path.name) and is_dicom(path) else InputKind.IMAGE


def is_dicom(path: Path) -> bool:
    """Return True for a DICOM file, and for a folder or zip that contains one; needs no extra.

    Raises:
        InputError: the path cannot be read.
    """
    from brain_edge.io.dicom import holds_dicom

    if not (path.is_dir() or path.is_file()):
        return False
    try:
        return (path.is_file() and path.suffix.lower() == DICOM_SUFFIX) or holds_dicom(path)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); check its permissions") from error


def require_one_kind(folder: Path) -> None:
    """Refuse a folder that contains images and DICOM where one examination is meant.

    Raises:
        UsageError: the folder contains both.
        InputError: the folder cannot be read.
    """
    image = next((name for name in sorted(_names_in(folder)) if is_image_name(name)), None)
    if image is not None and is_dicom(folder):
        raise UsageError(
            f"{folder}: expected images or DICOM, got both ({image} and DICOM); name the image itself, or choose the "
            "DICOM with --series or a .dcm file as the mask"
        )


def images_in(folder: Path) -> tuple[Path, ...]:
    """List the images of a folder by name, without masks, subfolders and hidden files.

    Raises:
        InputError: the folder contains no image, or cannot be read.
    """
    named = [folder / name for name in sorted(_names_in(folder)) if is_image_name(name) and not is_mask_name(name)]
    images = tuple(filter(may_be_file, named))
    if not images and (masks := masks_in(folder)):
        raise InputError(
            f"{folder}: expected images, got only masks by their names ({masks[0].name}); give the folder of the "
            "heads, or name each file"
        )
    if not images:
        raise InputError(
            f"{folder}: expected a folder with images ({', '.join(IMAGE_SUFFIXES)}) or DICOM, found neither; give "
            "another folder"
        )
    return images


def masks_in(folder: Path) -> tuple[Path, ...]:
    """List the images of a folder that are masks or label maps by their names; `images_in` leaves them out."""
    return tuple(folder / name for name in sorted(_names_in(folder)) if is_image_name(name) and is_mask_name(name))


def folders_in(folder: Path) -> tuple[Path, ...]:
    """List the subfolders of a folder by name, without hidden ones.

    Raises:
        InputError: the folder cannot be read.
    """
    named = (folder / name for name in sorted(_names_in(folder)) if not name.startswith("."))
    return tuple(path for path in named if path.is_dir())


def is_image_name(name: str) -> bool:
    """Return True if a file name is that of an image; hidden files are not images."""
    # macOS writes `._head.nii.gz`, which is not an image, beside each file on foreign disks
    return name.lower().endswith(IMAGE_SUFFIXES) and not name.startswith(".")


def is_mask_name(name: str) -> bool:
    """Return True if an image has the name of a mask or label map."""
    return image_name(Path(name)).lower().endswith(MASK_ENDS)


def image_name(path: Path) -> str:
    """Return the name of an image without its suffix: `head` of `head.nii.gz`."""
    lower = path.name.lower()
    suffix = next((suffix for suffix in IMAGE_SUFFIXES if lower.endswith(suffix)), "")
    return path.name[: len(path.name) - len(suffix)]


def series_of(
    inputs: Mapping[str, Path],
    choices: Mapping[str, str],
    stated: Mapping[str, tuple[Contrast, ...]],
    *,
    dicom_output: bool = False,
    registers: bool = False,
) -> dict[str, SeriesInfo]:
    """Return the series that each DICOM input means, by sequence name; inputs of other formats are omitted.

    Args:
        inputs: path per sequence of the model.
        choices: UID or contrast per sequence for which the user chose a series.
        stated: contrasts that the model was made for, by sequence. Without a choice, the series of such a contrast is
            taken, or the only series of an examination that serves no other sequence.
        dicom_output: True if an output is DICOM, so that a folder with DICOM and images means its DICOM.
        registers: True if the sequences are registered, so that their frames of reference may differ.

    Raises:
        UsageError: a series is chosen in an input that is not DICOM, one series is chosen for two sequences, or a
            folder contains images and DICOM.
        InputError: no series or several series fit, one cannot be read, or they belong to several studies.
        GeometryError: the series have several frames of reference.
        MissingExtraError: pydicom is not installed.
    """
    kinds = {name: input_kind(path, dicom=dicom_output or name in choices) for name, path in inputs.items()}
    dicom = {name: path for name, path in inputs.items() if kinds[name] is InputKind.DICOM}
    for name in (name for name, kind in kinds.items() if kind is InputKind.FOLDER):
        require_one_kind(inputs[name])
    for name in choices.keys() - dicom.keys():
        reason = f"{inputs[name]} is not DICOM" if name in inputs else f"{name} has none; name it"
        raise UsageError(f"--series needs a DICOM input; {reason}")
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
    require_one_visit(list(chosen.values()), registers=registers)
    if len({info.uid for info in chosen.values()}) < len(chosen):
        raise UsageError(f"two of {', '.join(chosen)} got the same DICOM series; choose one for each with --series")
    return chosen


def _names_in(folder: Path) -> list[str]:
    try:
        return [path.name for path in folder.iterdir()]
    except OSError as error:
        raise InputError(f"{folder}: the folder cannot be read ({error.strerror}); check its permissions") from error
