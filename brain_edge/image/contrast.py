"""What an MR image shows bright and dark: the contrast that a model was made for, and that an image was found to be."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class Contrast(StrEnum):
    """A contrast of MR images of the head, spelt as BIDS spells its suffix where it has one."""

    T1W = "T1w"
    """T1-weighted, and no contrast agent is recorded (which does not prove that none was given)."""
    T1C = "T1C"
    """T1-weighted after a contrast agent; BIDS: a T1w with the entity `ce-`."""
    T2W = "T2w"
    """T2-weighted spin echo; not T2*."""
    FLAIR = "FLAIR"
    """T2-weighted with the signal of fluid inverted away, before or after a contrast agent."""
    PDW = "PDw"
    """Weighted by the density of protons."""
    T2STARW = "T2starw"
    """T2*-weighted gradient echo, susceptibility-weighted images among them."""
    OTHER = "other"
    """Something else: diffusion, perfusion, angiography, STIR, a map. Of images; no model is made for it."""
    ANY = "any"
    """Of models: whatever the image is."""


NAMES: Final = ", ".join(contrast for contrast in Contrast if contrast not in (Contrast.OTHER, Contrast.ANY))
"""Of those that have one, for a message."""


@dataclass(frozen=True)
class Finding:
    """The contrast of an image and what speaks for it.

    Attributes:
        contrast: None where nothing says it, or where witnesses contradict each other.
        evidence: sentences; they quote no free text of a header.
    """

    contrast: Contrast | None
    evidence: tuple[str, ...] = ()

    def __str__(self) -> str:
        """As a listing shows it."""
        return f"{self.contrast or 'unknown'} ({'; '.join(self.evidence)})"


def takes(stated: tuple[Contrast, ...], contrast: Contrast | None) -> bool:
    """Whether an image of this contrast is one that a model was made for, which states these."""
    return contrast in stated or (Contrast.ANY in stated and contrast is not Contrast.OTHER)
