"""Cases of several sequences by the names of their files.

The name of an image ends in its sequence: `patient01_T1.nii.gz`, or just `T1.nii.gz` in the folder of a case. What
stands before it is the same for all images of one case. Spellings: the name that the model gives the sequence, its
type's usual ones (`T1W`, `T1ce`), upper or lower case, the separator `_` or `-`. Images of other sequences, and masks,
are no part of any case.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from brain_edge.errors import InputError
from brain_edge.io.inputs import image_name

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path


@dataclass(frozen=True)
class ImageGroup:
    """The images of one case.

    Attributes:
        case: its name.
        files: per sequence those whose names fit; a complete case has exactly one of each.
    """

    case: str
    files: Mapping[str, list[Path]] = field(default_factory=dict)

    def inputs(self) -> dict[str, Path]:
        """One file per sequence.

        Raises:
            InputError: there is none for a sequence, or more than one.
        """
        for name, paths in self.files.items():
            if len(paths) > 1:
                both = " and ".join(str(path) for path in sorted(paths)[:2])
                raise InputError(f"{self.case}: {both} are both named as {name} of this case; remove or rename one")
        missing = [name for name, paths in self.files.items() if not paths]
        if missing:
            known = next(path for paths in self.files.values() for path in paths)
            raise InputError(
                f"{self.case}: expected one image of each of {', '.join(self.files)} beside {known}, found none of "
                f"{', '.join(missing)}; name it as the others with _{missing[0]} at the end"
            )
        return {name: paths[0] for name, paths in self.files.items()}


def group(images: Iterable[Path], sequences: Sequence[str], folder: str = "") -> tuple[ImageGroup, ...]:
    """The cases among images of one folder, in the order of their names.

    Args:
        images: files of one folder.
        sequences: names that the model gives them.
        folder: what a case is called that has no other name; it is put before another name that does not begin
            with it, because two folders may both have a `visit1_T1.nii.gz`.
    """
    spellings = _spellings(sequences)
    found: dict[str, dict[str, list[Path]]] = {}
    for path in images:
        # patient01_T1W -> ("patient01", "T1W")
        stem, _, last = re.sub(r"^(.*)[_-]", r"\1/", image_name(path)).rpartition("/")
        sequence = spellings.get(last.upper())
        if sequence is not None:
            case = _case_name(stem, folder)
            found.setdefault(case, {name: [] for name in sequences})[sequence].append(path)
    return tuple(ImageGroup(case, found[case]) for case in sorted(found))


def _case_name(stem: str, folder: str) -> str:
    if not stem:
        return folder or "case"
    return stem if stem.startswith(folder) else f"{folder}_{stem}"


def _spellings(sequences: Sequence[str]) -> dict[str, str]:
    """Upper-case spelling -> the model's name; the model's own names win over those of a type."""
    from brain_edge.io.dicom.sequence_type import SEQUENCE_NAMES

    by_type = {SEQUENCE_NAMES[name.upper()]: name for name in sequences if name.upper() in SEQUENCE_NAMES}
    usual = {spelling: by_type[kind] for spelling, kind in SEQUENCE_NAMES.items() if kind in by_type}
    return {**usual, **{name.upper(): name for name in sequences}}
