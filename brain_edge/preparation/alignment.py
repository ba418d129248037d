"""Check of sequences that are said to lie over each other: by their headers, or because somebody registered them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from brain_edge.preparation.checks import shows_head
from brain_edge.registration.judgement import DRIFT_DOUBTFUL_MM, MIRRORED, judge
from brain_edge.registration.rigid import Rigid
from brain_edge.spec.plausibility import Flag, FlagKind

if TYPE_CHECKING:
    from collections.abc import Iterator

    from brain_edge.image.volume import Study


def check_alignment(study: Study) -> tuple[Flag, ...]:
    """Return a flag for each sequence that does not lie over the reference of a study.

    Slices and slabs are not compared, because they show too little of a head.
    """
    return tuple(_flags(study))


def _flags(study: Study) -> Iterator[Flag]:
    reference = study.volumes[study.reference]
    for name, volume in study.volumes.items():
        if name == study.reference or not (shows_head(volume.geometry) and shows_head(reference.geometry)):
            continue
        # whether one person is shown is not asked: a symmetric brain, or thick slices, would be flagged in every study
        found = judge(volume, reference, Rigid.identity(), same_person=False)
        reasons = [*found.reasons, *([MIRRORED] if found.is_mirrored else [])]
        if reasons:
            words = f"{name} may not lie over {study.reference}: {' '.join(reasons)}"
            yield Flag(FlagKind.REGISTRATION, words, found.drift_mm, 0.0, DRIFT_DOUBTFUL_MM)
