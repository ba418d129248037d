"""What a DICOM result is written from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from brain_edge.image.volume import FloatArray, Mask
    from brain_edge.spec.plausibility import Flag


class Segmented(Protocol):
    """Result of a model: `brain_edge.Segmentation`."""

    @property
    def mask(self) -> Mask:
        """Labels on the grid of the source series."""

    @property
    def flags(self) -> tuple[Flag, ...]:
        """Implausible findings."""

    @property
    def probabilities(self) -> FloatArray | None:
        """Probabilities (D, I, J, K) on the same grid; None if not requested."""
