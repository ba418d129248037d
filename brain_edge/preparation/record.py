"""Record of a preparation: what was done to a study, so that it can be read and done again."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from brain_edge.spec.plausibility import Flag

if TYPE_CHECKING:
    from brain_edge.preparation.prepared import Prepared
    from brain_edge.spec.preparation import Preparation


class PreparationRecord(msgspec.Struct, frozen=True, kw_only=True):
    """Record of one prepared study.

    Attributes:
        space: name of the space of the prepared images.
        reference: sequence to which the others are registered.
        parts: parts that were missing and are done; empty if the study was prepared already.
        transforms: 4 x 4 matrix of each sequence, from points of the prepared images to points of the image as it was
            scanned, both in RAS+ mm.
        judgements: figures of each registration, by the name of the moving sequence.
        made_by: name and version of the library, digest of stage 0, hash of the atlas.
        flags: doubtful findings.
        elapsed_ms: time of each part, ms; empty if nothing was missing, or if the study was kept from an earlier run.
        not_compared: reason why the brain that stage 0 finds in a sequence was not compared with that of the reference,
            by the name of the sequence.
    """

    space: str
    reference: str
    parts: list[str]
    transforms: dict[str, list[list[float]]]
    judgements: dict[str, dict[str, float]]
    made_by: dict[str, str]
    flags: tuple[Flag, ...]
    elapsed_ms: dict[str, float]
    not_compared: dict[str, str] = {}


def record_of(prepared: Prepared, preparation: Preparation) -> PreparationRecord:
    """Return the record of a prepared study."""
    return PreparationRecord(
        space=preparation.space,
        reference=prepared.study.reference,
        parts=[str(part) for part in prepared.parts],
        transforms={name: each.matrix.tolist() for name, each in prepared.transforms.items()},
        judgements={name: dict(each) for name, each in prepared.judgements.items()},
        made_by=dict(prepared.made_by),
        flags=prepared.flags,
        elapsed_ms=dict(prepared.elapsed_ms),
        not_compared=dict(prepared.not_compared),
    )
