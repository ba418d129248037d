"""Names of the files of a prepared study: as the tumour challenges spell them, or as BIDS derivatives."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Final

from brain_edge.image.contrast import Contrast

if TYPE_CHECKING:
    from collections.abc import Mapping

    from brain_edge.jobs.bids.name import BidsName

BRATS: Final = {Contrast.T1W: "t1", Contrast.T1C: "t1ce", Contrast.T2W: "t2", Contrast.FLAIR: "flair"}
"""Ends of file names of the tumour challenges."""
RECORD: Final = "preparation.json"
PICTURE: Final = "preparation.png"


class Style(StrEnum):
    """Style of the names."""

    BRATS = "brats"
    """`CASE/CASE_t1ce.nii.gz`, as the tumour challenges name their files."""
    BIDS = "bids"
    """`sub-01/anat/sub-01_space-SRI24_desc-preproc_T1w.nii.gz`, as BIDS names derivatives."""


@dataclass(frozen=True)
class CaseNames:
    """Names of one case, all in one folder that belongs to the case alone.

    Attributes:
        case: name of the case.
        space: name of the space of the prepared images.
        folder: folder of the case, relative to that of the output.
        images: end of the name of each sequence, without its suffix.
        raw: BIDS name of each sequence; empty in the style of the tumour challenges.
    """

    case: str
    space: str
    folder: PurePosixPath
    images: Mapping[str, str]
    raw: Mapping[str, BidsName] = field(default_factory=dict)

    def image(self, sequence: str) -> str:
        """Return the name of a prepared image."""
        return self._name(sequence, self.images[sequence], {"space": self.space, "desc": "preproc"}) + ".nii.gz"

    def transform(self, sequence: str) -> str:
        """Return the name of the transform of a sequence, as BIDS proposes it for transforms."""
        way = f"from-orig_to-{self.space}_mode-image_xfm.txt"
        if sequence in self.raw:
            return f"{self.raw[sequence]}".removesuffix(self.raw[sequence].extension) + f"_{way}"
        return f"{self.case}_{self.images[sequence]}_{way}"

    def brain(self, reference: str) -> str:
        """Return the name of the brain mask."""
        if reference in self.raw:
            return self._bids(reference, {"space": self.space, "desc": "brain"}, "mask") + ".nii.gz"
        return f"{self.case}_brainmask.nii.gz"

    @property
    def record(self) -> str:
        """Name of the record."""
        return f"{self.case}_{RECORD}"

    @property
    def picture(self) -> str:
        """Name of the picture."""
        return f"{self.case}_{PICTURE}"

    def _name(self, sequence: str, end: str, entities: Mapping[str, str]) -> str:
        if sequence in self.raw:
            return self._bids(sequence, entities, self.raw[sequence].suffix)
        return f"{self.case}_{end}"

    def _bids(self, sequence: str, entities: Mapping[str, str], suffix: str) -> str:
        from brain_edge.jobs.bids.name import BidsName, in_order

        return str(BidsName(in_order({**self.raw[sequence].entities, **entities}), suffix))


def brats_names(case: str, space: str, contrasts: Mapping[str, tuple[Contrast, ...]]) -> CaseNames:
    """Return the names of a case as the tumour challenges spell them; other sequences keep their own name."""
    ends = {name: BRATS.get(stated[0], name) if len(stated) == 1 else name for name, stated in contrasts.items()}
    return CaseNames(case, space, PurePosixPath(case), ends)


def bids_names(case: str, space: str, folder: PurePosixPath, raw: Mapping[str, BidsName]) -> CaseNames:
    """Return the names of a case as BIDS spells derivatives."""
    return CaseNames(case, space, folder, {name: each.suffix for name, each in raw.items()}, raw)
