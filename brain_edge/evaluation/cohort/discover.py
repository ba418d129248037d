"""Find the images of a folder, their subjects, visits and sequences, and the mask of each image.

Two layouts are read. A BIDS dataset (a folder with `dataset_description.json`) states everything in its file names. In
a plain folder, the first level is the subject, and a file is called `VISIT_SEQUENCE.nii.gz`, or `SEQUENCE.nii.gz` for a
single visit. Further levels belong to the visit.
"""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from brain_edge.errors import InputError
from brain_edge.evaluation.cohort.reference import moves_onto
from brain_edge.io.inputs import IMAGE_SUFFIXES, folders_in, image_name, is_image_name
from brain_edge.io.nifti import read_geometry, read_numbers
from brain_edge.machine.paths import files_below, may_be_file

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

HD_BET: Final = "{image}_bet"
MASKS: Final = ("{image}_brainmask", "{image}_mask", f"{HD_BET}_mask", HD_BET)
"""Names of masks by people (and fMRIPrep before 1.2), `brain-edge run` and HD-BET; `{image}` is the name of the image.

The second version of HD-BET gives the mask the name that its first version gave the skull-stripped image.
"""

BIDS_DESCRIPTION: Final = "dataset_description.json"
BIDS_SUFFIXES: Final = frozenset({"T1w", "T2w", "T2starw", "PDw", "FLAIR"})
"""Suffixes of weighted anatomical images; segmentation networks do not take parametric maps or multi-echo images."""

_BIDS_VISIT: Final = ("ses-", "run-")
_FORBIDDEN_IN_NAMES: Final = re.compile(r"[^A-Za-z0-9_.+-]+")


@dataclass(frozen=True)
class FoundImage:
    """One image.

    Attributes:
        path: path of the file.
        subject, visit, sequence: values from the layout; the visit is empty if there is only one.
        mask: path of the mask of this image or of its visit, or None.
    """

    path: Path
    subject: str
    visit: str
    sequence: str
    mask: Path | None


def find_images(folder: Path, mask_pattern: str | None = None) -> tuple[FoundImage, ...]:
    """Find all images below a folder, in the order of their paths.

    Args:
        folder: BIDS dataset or plain folder.
        mask_pattern: file name of a mask without its suffix; `{image}` is replaced by the name of the image (in BIDS
            also by its entities). Without `{image}`, it is the name of one mask per folder. By default `MASKS`, and in
            BIDS the brain masks of derivatives, as fMRIPrep and `brain-edge bids` name them.

    Raises:
        InputError: the folder does not exist or has no images; an image has no subject, or two masks; a mask has no
            image, or not the grid of its image; or no file matches the given pattern.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: expected a folder of images, found no such folder; check the path")
    find = _find_bids if (folder / BIDS_DESCRIPTION).is_file() else _find_plain
    found = find(folder, mask_pattern)
    if not found:
        raise InputError(
            f"{folder}: expected images ({', '.join(IMAGE_SUFFIXES)}) below this folder, found none; check the path"
        )
    if mask_pattern is not None and all(image.mask is None for image in found):
        raise InputError(
            f"{folder}: no image has a mask named {mask_pattern!r} ({{image}} stands for the name of the image); "
            "correct --mask-pattern"
        )
    return found


def _files(folder: Path) -> Iterator[Path]:
    """Yield image files by name, without hidden files; the folder of a subject may be a link to another subject's."""
    below = (path for subject in folders_in(folder) for path in files_below(subject))
    for path in sorted((*filter(may_be_file, folder.iterdir()), *below)):
        if is_image_name(path.name) and not any(part.startswith(".") for part in path.relative_to(folder).parts):
            yield path


def _find_plain(folder: Path, pattern: str | None) -> tuple[FoundImage, ...]:
    patterns = MASKS if pattern is None else (pattern,)
    as_mask = re.compile("|".join(re.escape(one).replace(re.escape("{image}"), "(.+)") for one in patterns))
    files = tuple(_files(folder))
    masks = [path for path in files if as_mask.fullmatch(image_name(path))]
    images = [path for path in files if path not in masks]
    wanted = {path: [str(path.with_name(name)) for name in _filled(patterns, image_name(path))] for path in images}
    by_name = _by_name((str(path.with_name(image_name(path))), path) for path in masks)
    if orphans := sorted(by_name.keys() - {name for names in wanted.values() for name in names}):
        raise InputError(f"{by_name[orphans[0]][0]}: found no image for this mask; remove the mask or add its image")
    owned = _owned(wanted, by_name)
    return tuple(_plain_image(path, folder, owned.get(path)) for path in images)


def _plain_image(path: Path, folder: Path, mask: Path | None) -> FoundImage:
    subject, *levels = path.relative_to(folder).parts[:-1] or [""]
    if not subject:
        raise InputError(
            f"{path}: expected a folder per subject, got an image without a subject; "
            "put the images of each subject into a separate folder"
        )
    stem = image_name(path).removeprefix(f"{subject}_")
    prefix, _, sequence = stem.rpartition("_")
    visit = "/".join(part for part in (*levels, prefix) if part)
    return FoundImage(path, subject, visit, _as_name(sequence), mask)


def _find_bids(folder: Path, pattern: str | None) -> tuple[FoundImage, ...]:
    files = tuple(_files(folder))
    images = [path for path in files if _is_raw_bids(path, folder)]
    wanted = {path: _bids_masks(path, pattern) for path in images}
    owned = _owned(wanted, _by_name((image_name(path), path) for path in files if path not in wanted))
    return tuple(_bids_image(path, owned.get(path)) for path in images)


def _bids_masks(path: Path, pattern: str | None) -> list[str]:
    """Return possible names of an image's mask; `space-orig` is the space of the image and stands before `chunk-`."""
    entities, _, suffix = image_name(path).rpartition("_")
    if pattern is not None:
        return [*_filled((pattern,), entities), *_filled((pattern,), image_name(path))]
    orig = re.sub(r"(_chunk-[^_]+)?$", r"_space-orig\1", entities, count=1)
    described = [f"{start}_desc-brain{kind}_mask" for start in (entities, orig) for kind in ("", suffix)]
    return [*described, *_filled(MASKS, image_name(path))]


def _is_raw_bids(path: Path, folder: Path) -> bool:
    in_subject = path.relative_to(folder).parts[0].startswith("sub-")
    return in_subject and path.parent.name == "anat" and image_name(path).rpartition("_")[2] in BIDS_SUFFIXES


def _bids_image(path: Path, mask: Path | None) -> FoundImage:
    *chain, suffix = image_name(path).split("_")
    subject, *entities = chain
    visit = "_".join(entity for entity in entities if entity.startswith(_BIDS_VISIT))
    kind = [entity for entity in entities if not entity.startswith(_BIDS_VISIT)]
    return FoundImage(path, subject, visit, _as_name("_".join((*kind, suffix))), mask)


def _owned(wanted: Mapping[Path, list[str]], by_name: Mapping[str, list[Path]]) -> dict[Path, Path]:
    """Find the mask of each image among those with its names: the mask on its grid, in any voxel order.

    T1w and FLAIR of one visit share the name of a mask, which belongs to the images on its grid.

    Raises:
        InputError: a mask is not on the grid of any image that it is named after, or an image has two masks.
    """
    owned: dict[Path, Path] = {}
    strange: dict[Path, Path] = {}
    for image, names in wanted.items():
        there = [mask for name in dict.fromkeys(names) for mask in by_name.get(name, ())]
        grid = read_geometry(image) if there else None
        for mask in _without_stripped(there):
            if grid is None or moves_onto(read_geometry(mask), grid) is None:
                strange.setdefault(mask, image)
            elif image in owned:
                raise InputError(f"{mask}: expected one mask per image, found also {owned[image]}; keep one of them")
            else:
                owned[image] = mask
    for mask in sorted(strange.keys() - set(owned.values())):
        raise InputError(
            f"{mask}: expected the grid of its image {strange[mask]} ({read_geometry(strange[mask])}), "
            f"got {read_geometry(mask)}; resample the mask to that image first"
        )
    return owned


def _without_stripped(masks: list[Path]) -> list[Path]:
    """Return masks without the image that HD-BET's first version writes under the name of the second version's mask."""
    ending = HD_BET.removeprefix("{image}")
    named = [mask for mask in masks if image_name(mask).endswith(ending)]
    if any(image_name(mask).endswith(f"{ending}_mask") for mask in masks):
        return [mask for mask in masks if mask not in named]
    for mask in named:
        if np.unique(read_numbers(mask)[0]).size > 2:
            raise InputError(
                f"{mask}: expected a mask of HD-BET with two values, got an image; remove the image, or add its mask "
                f"{image_name(mask)}_mask"
            )
    return masks


def _filled(patterns: Iterable[str], name: str) -> list[str]:
    return [pattern.replace("{image}", name) for pattern in patterns]


def _by_name(pairs: Iterable[tuple[str, Path]]) -> dict[str, list[Path]]:
    found: defaultdict[str, list[Path]] = defaultdict(list)
    for name, path in pairs:
        found[name].append(path)
    return found


def _as_name(text: str) -> str:
    """Return a sequence name of letters, digits and `_.+-` that begins with a letter or digit."""
    return _FORBIDDEN_IN_NAMES.sub("-", text).lstrip("_.+-") or "image"
