"""MR contrasts: those that a model states, and the one that was found for an image."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class Contrast(StrEnum):
    """A contrast of MR images of the head, named by its BIDS suffix where BIDS has one."""

    T1W = "T1w"
    """T1-weighted; no contrast agent is recorded, which does not prove that none was given."""
    T1C = "T1C"
    """T1-weighted after a contrast agent; in BIDS, T1w with the entity `ce-`."""
    T2W = "T2w"
    """T2-weighted spin echo; not T2*."""
    FLAIR = "FLAIR"
    """T2-weighted with the fluid signal suppressed, before or after a contrast agent."""
    PDW = "PDw"
    """Proton-density-weighted."""
    T2STARW = "T2starw"
    """T2*-weighted gradient echo, including susceptibility-weighted images."""
    OTHER = "other"
    """Any other image: diffusion, perfusion, angiography, STIR, a parametric map. Used for images, not for models."""
    ANY = "any"
    """Any contrast. Used for models, not for images."""


NAMES: Final = ", ".join(contrast for contrast in Contrast if contrast not in (Contrast.OTHER, Contrast.ANY))
"""Names of the contrasts that an image can be stated to have, for messages."""


@dataclass(frozen=True)
class Finding:
    """The contrast of an image and the evidence for it.

    Attributes:
        contrast: contrast found; None where there is no evidence, or where the evidence conflicts.
        evidence: sentences that quote no free text of a header.
    """

    contrast: Contrast | None
    evidence: tuple[str, ...] = ()

    def __str__(self) -> str:
        """Return the contrast and its evidence as a listing shows them."""
        return f"{self.contrast or 'unknown'} ({'; '.join(self.evidence)})"


def takes(stated: tuple[Contrast, ...], contrast: Contrast | None) -> bool:
    """Return True if a model that states the contrasts `stated` takes an image of this contrast."""
    return contrast in stated or (Contrast.ANY in stated and contrast is not Contrast.OTHER)
