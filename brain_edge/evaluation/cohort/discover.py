"""Find the images of a folder, their subjects, visits and sequences, and the mask that belongs to each.

Two layouts are read. A BIDS dataset (a folder with `dataset_description.json`) says everything in its file
names. In a plain folder the first level is the subject and a file is called `VISIT_SEQUENCE.nii.gz`, or
`SEQUENCE.nii.gz` where there is one visit; further levels belong to the visit.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from brain_edge.errors import InputError
from brain_edge.io.nifti import read_geometry
from brain_edge.machine.paths import may_be_file

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

IMAGE_SUFFIXES: Final = (".nii.gz", ".nii", ".mgz")
PLAIN_MASKS: Final = "{image}_brainmask"
BIDS_MASKS: Final = "{image}_desc-brain_mask"
"""BIDS derivatives, "Masks": the entities of the image, then `desc-brain_mask` in place of its suffix."""

BIDS_DESCRIPTION: Final = "dataset_description.json"
BIDS_SUFFIXES: Final = frozenset({"T1w", "T2w", "T2starw", "PDw", "FLAIR"})
"""Weighted anatomical images; maps and multi-echo suffixes are not what segmentation networks take."""

_BIDS_VISIT: Final = ("ses-", "run-")
_FORBIDDEN_IN_NAMES: Final = re.compile(r"[^A-Za-z0-9_.+-]+")


@dataclass(frozen=True)
class FoundImage:
    """One image.

    Attributes:
        path: of the file.
        subject, visit, sequence: as the layout tells them; the visit is empty where there is only one.
        mask: of this image or of its visit, or None.
    """

    path: Path
    subject: str
    visit: str
    sequence: str
    mask: Path | None


def find_images(folder: Path, mask_pattern: str | None = None) -> tuple[FoundImage, ...]:
    """All images below a folder, in the order of their paths.

    Args:
        folder: a BIDS dataset or a plain folder.
        mask_pattern: file name of a mask without its suffix, `{image}` standing for the name of the image (in
            BIDS: for its entities); without `{image}`, the name of one mask per folder. By default
            `PLAIN_MASKS` or `BIDS_MASKS`.

    Raises:
        InputError: no such folder, no images, an image without a subject, a mask without an image, or no mask
            although a pattern was given.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: expected a folder of images, there is none")
    is_bids = (folder / BIDS_DESCRIPTION).is_file()
    find = _find_bids if is_bids else _find_plain
    found = find(folder, mask_pattern or (BIDS_MASKS if is_bids else PLAIN_MASKS))
    if not found:
        raise InputError(f"{folder}: expected images ({', '.join(IMAGE_SUFFIXES)}) below it, found none")
    if mask_pattern is not None and all(image.mask is None for image in found):
        raise InputError(f"{folder}: no file is called {mask_pattern!r} (with an image's name for {{image}})")
    return found


def image_stem(path: Path) -> str:
    """The name of an image file without its suffix."""
    return next(path.name.removesuffix(suffix) for suffix in IMAGE_SUFFIXES if path.name.endswith(suffix))


def _files(folder: Path) -> Iterator[Path]:
    # the first level by itself, because rglob does not enter a subject's folder that is a symbolic link
    for path in sorted({*folder.glob("*"), *folder.glob("*/**/*")}):
        hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
        if path.name.endswith(IMAGE_SUFFIXES) and may_be_file(path) and not hidden:
            yield path


def _find_plain(folder: Path, pattern: str) -> tuple[FoundImage, ...]:
    as_mask = re.compile(re.escape(pattern).replace(re.escape("{image}"), "(.+)"))
    files = tuple(_files(folder))
    masks = {path.with_name(image_stem(path)): path for path in files if as_mask.fullmatch(image_stem(path))}
    images = [path for path in files if path not in masks.values()]
    owned = {path: path.with_name(pattern.replace("{image}", image_stem(path))) for path in images}
    orphans = sorted(set(masks) - set(owned.values()))
    if orphans:
        raise InputError(f"{masks[orphans[0]]}: this mask belongs to no image; remove it or add its image")
    return tuple(_plain_image(path, folder, masks.get(owned[path])) for path in images)


def _plain_image(path: Path, folder: Path, mask: Path | None) -> FoundImage:
    subject, *levels = path.relative_to(folder).parts[:-1] or [""]
    if not subject:
        raise InputError(
            f"{path}: this image has no subject; put the images of each subject into a folder of its own, "
            "since splits must not share a person"
        )
    stem = image_stem(path).removeprefix(f"{subject}_")
    prefix, _, sequence = stem.rpartition("_")
    visit = "/".join(part for part in (*levels, prefix) if part)
    return FoundImage(path, subject, visit, _as_name(sequence), mask)


def _find_bids(folder: Path, pattern: str) -> tuple[FoundImage, ...]:
    files = tuple(_files(folder))
    raw = {path: pattern.replace("{image}", _entities(path)) for path in files if _is_raw_bids(path, folder)}
    masks = _only_masks(set(raw.values()), (path for path in files if path not in raw))
    return tuple(_bids_image(path, masks.get(mask)) for path, mask in raw.items())


def _is_raw_bids(path: Path, folder: Path) -> bool:
    in_subject = path.relative_to(folder).parts[0].startswith("sub-")
    return in_subject and path.parent.name == "anat" and image_stem(path).rpartition("_")[2] in BIDS_SUFFIXES


def _bids_image(path: Path, mask: Path | None) -> FoundImage:
    subject, *entities = _entities(path).split("_")
    suffix = image_stem(path).rpartition("_")[2]
    visit = "_".join(entity for entity in entities if entity.startswith(_BIDS_VISIT))
    kind = [entity for entity in entities if not entity.startswith(_BIDS_VISIT)]
    # T1w and FLAIR of one visit share the name of a mask, which belongs to those images whose grid it is on
    fits = mask is not None and read_geometry(mask).same_grid(read_geometry(path))
    return FoundImage(path, subject, visit, _as_name("_".join((*kind, suffix))), mask if fits else None)


def _only_masks(wanted: set[str], candidates: Iterable[Path]) -> dict[str, Path]:
    """The files with the wanted names (without suffix), wherever they are in the data set."""
    masks: dict[str, Path] = {}
    for path in candidates:
        stem = image_stem(path)
        if stem in wanted and stem in masks:
            raise InputError(f"{path}: {masks[stem]} is a mask of the same image; keep one of them")
        if stem in wanted:
            masks[stem] = path
    return masks


def _entities(path: Path) -> str:
    """`sub-01_ses-2` of `sub-01_ses-2_T1w.nii.gz`."""
    return image_stem(path).rpartition("_")[0]


def _as_name(text: str) -> str:
    """A sequence name of letters, digits and `_.+-`, which begins with a letter or digit."""
    return _FORBIDDEN_IN_NAMES.sub("-", text).lstrip("_.+-") or "image"
