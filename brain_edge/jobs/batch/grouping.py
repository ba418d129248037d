"""Group the images of several sequences into cases by their file names.

The name of an image ends in its sequence: `patient01_T1.nii.gz`, or just `T1.nii.gz` in the folder of a case. The
part before the sequence is the same for all images of a case. A sequence is spelt as the model names it, or as its
contrast is usually called (`T1W`, `t1ce`), in upper or lower case, after `_` or `-`. Images of other sequences, and
masks, belong to no case.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from brain_edge.errors import InputError
from brain_edge.io.contrast_words import named
from brain_edge.io.inputs import image_name

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from brain_edge.image.contrast import Contrast


@dataclass(frozen=True)
class ImageGroup:
    """Images of one case.

    Attributes:
        case: name of the case.
        files: images per sequence; a complete case has exactly one per sequence.
    """

    case: str
    files: Mapping[str, list[Path]] = field(default_factory=dict)

    def inputs(self) -> dict[str, Path]:
        """Return one file per sequence.

        Raises:
            InputError: a sequence has no file, or more than one.
        """
        for name, paths in self.files.items():
            if len(paths) > 1:
                both = " and ".join(str(path) for path in sorted(paths)[:2])
                raise InputError(f"{self.case}: expected one image of {name}, got {both}; remove or rename one")
        missing = [name for name, paths in self.files.items() if not paths]
        if missing:
            known = next(path for paths in self.files.values() for path in paths)
            raise InputError(
                f"{self.case}: expected one image of each of {', '.join(self.files)} beside {known}, found none of "
                f"{', '.join(missing)}; name it like the others, with _{missing[0]} at the end"
            )
        return {name: paths[0] for name, paths in self.files.items()}


def group(
    images: Iterable[Path], contrasts: Mapping[str, tuple[Contrast, ...]], folder: str = ""
) -> tuple[ImageGroup, ...]:
    """Group the images of one folder into cases, sorted by name.

    Args:
        images: files of one folder.
        contrasts: contrasts of each sequence, by the model's name of the sequence.
        folder: name of a case whose files have no other name; also the prefix of any name that does not begin with
            it, because two folders may both have a `visit1_T1.nii.gz`.
    """
    found: dict[str, dict[str, list[Path]]] = {}
    for path in images:
        # patient01_T1W -> ("patient01", "T1W")
        stem, _, last = re.sub(r"^(.*)[_-]", r"\1/", image_name(path)).rpartition("/")
        sequence = _sequence_of(last, contrasts)
        if sequence is not None:
            case = _case_name(stem, folder)
            found.setdefault(case, {name: [] for name in contrasts})[sequence].append(path)
    return tuple(ImageGroup(case, found[case]) for case in sorted(found))


def _case_name(stem: str, folder: str) -> str:
    if not stem:
        return folder or "case"
    return stem if stem.startswith(folder) else f"{folder}_{stem}"


def _sequence_of(word: str, contrasts: Mapping[str, tuple[Contrast, ...]]) -> str | None:
    """Return the sequence of the last word of a file name: by its name, or by a contrast of this sequence only."""
    named_so = [name for name in contrasts if name.upper() == word.upper()]
    contrast = named(word)
    of_contrast = [name for name, stated in contrasts.items() if contrast in stated]
    found = named_so or of_contrast
    return found[0] if len(found) == 1 else None
