"""What a user may name as an input, and which images that stands for."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Final

from brain_edge.errors import InputError

if TYPE_CHECKING:
    from pathlib import Path

IMAGE_SUFFIXES: Final = (".nii.gz", ".nii", ".mgz", ".mgh")
"""What a folder is searched for; the longest of those that share an end first."""


class InputKind(StrEnum):
    """What a path stands for."""

    IMAGE = "image"
    """One file: one sequence of one head. Whether it really is an image is for the reader to say."""
    FOLDER = "folder of images"
    """One file per head, all of the same sequence."""


def input_kind(path: Path) -> InputKind:
    """What an input is. Everything that treats kinds differently asks here."""
    return InputKind.FOLDER if path.is_dir() else InputKind.IMAGE


def images_in(folder: Path) -> tuple[Path, ...]:
    """The images of a folder by name: not those of the folders below, and no hidden files.

    Raises:
        InputError: there is none, or the folder cannot be read.
    """
    try:
        images = sorted(path for path in folder.iterdir() if _is_image_name(path.name) and path.is_file())
    except OSError as error:
        raise InputError(f"{folder}: this folder could not be read: {error.strerror}") from error
    if not images:
        raise InputError(f"{folder}: expected a folder with images ({', '.join(IMAGE_SUFFIXES)}), found none in it")
    return tuple(images)


def image_name(path: Path) -> str:
    """The name of an image without its suffix: `head` of `head.nii.gz`."""
    lower = path.name.lower()
    suffix = next((suffix for suffix in IMAGE_SUFFIXES if lower.endswith(suffix)), "")
    return path.name[: len(path.name) - len(suffix)]


def _is_image_name(name: str) -> bool:
    # macOS leaves `._head.nii.gz`, which is no image, beside each file on foreign disks
    return name.lower().endswith(IMAGE_SUFFIXES) and not name.startswith(".")
