"""What `prepare` looks for: the sequences of a package, or the four of the tumour networks."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from msgspec import UNSET

from brain_edge.image.contrast import Contrast
from brain_edge.spec import Missing, Sequence
from brain_edge.spec.preparation import Preparation, Skull

if TYPE_CHECKING:
    from collections.abc import Mapping

    from brain_edge.spec import ModelSpec
    from brain_edge.spec.preparation import Atlas

FOUR: Final = tuple(
    Sequence(name=name, contrasts=(contrast,), missing=Missing.ZERO)
    for name, contrast in {
        "T1C": Contrast.T1C,
        "T1": Contrast.T1W,
        "T2": Contrast.T2W,
        "FLAIR": Contrast.FLAIR,
    }.items()
)
"""The sequences of the tumour networks; each may be missing."""


@dataclass(frozen=True)
class Wanted:
    """Sequences and their preparation.

    Attributes:
        name: what they are for, in messages.
        inputs: sequences, in order.
        preparation: preparation of a study.
        series: UID or contrast of the DICOM series that the user chose, by sequence.
    """

    name: str
    inputs: tuple[Sequence, ...]
    preparation: Preparation
    series: Mapping[str, str] = field(default_factory=dict)

    @property
    def optional(self) -> tuple[str, ...]:
        """Names of the sequences that may be missing."""
        return tuple(sequence.name for sequence in self.inputs if sequence.missing)

    @property
    def contrasts(self) -> dict[str, tuple[Contrast, ...]]:
        """Contrasts of each sequence; empty if not stated."""
        return {sequence.name: sequence.stated for sequence in self.inputs}


def of_model(spec: ModelSpec) -> Wanted | None:
    """Return what a model wants; None if it takes images as they are."""
    return Wanted(spec.name, spec.inputs, spec.preparation) if spec.preparation else None


def of_four(atlas: Atlas | None, *, keeps_skull: bool) -> Wanted:
    """Return the preparation of the tumour challenges, to an atlas or without one."""
    preparation = Preparation(
        references=tuple(sequence.name for sequence in FOUR),
        bias_field=True,
        skull=Skull.KEPT if keeps_skull else Skull.REMOVED_AFTER,
        atlas=atlas or UNSET,
    )
    return Wanted("prepare", FOUR, preparation)
