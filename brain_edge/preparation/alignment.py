"""Check of sequences that are said to lie over each other: by their headers, or because somebody registered them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from brain_edge.preparation.checks import shows_head
from brain_edge.registration.judgement import MIRRORED, NO_SIMILARITY, UNRELATED, judge
from brain_edge.registration.rigid import Rigid
from brain_edge.spec.plausibility import Flag, FlagKind

if TYPE_CHECKING:
    from collections.abc import Iterator

    from brain_edge.image.volume import Study
    from brain_edge.registration.judgement import Judgement

APART_MM: Final = 3.5
"""Mean distance to a better place nearby that is flagged. A movement of 5 mm is seen as 4 mm or more. Raw sequences of
one visit, in slices of 3 to 4 mm, were up to 2.8 mm from a better place of the coarse comparison without having moved
as far."""


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
        found = judge(volume, reference, Rigid.identity(), same_person=False)
        if reasons := list(_reasons(found)):
            words = f"{name} may not lie over {study.reference}: {' '.join(reasons)}"
            yield Flag(FlagKind.REGISTRATION, words, found.drift_mm, 0.0, APART_MM)


def _reasons(found: Judgement) -> Iterator[str]:
    """Yield what speaks against images that nobody has registered here.

    Whether both show one person is not asked: a symmetric brain, or thick slices, would be flagged in every study.
    """
    if found.similarity <= NO_SIMILARITY:
        yield UNRELATED
    if found.drift_mm > APART_MM:
        yield f"The images are more alike {found.drift_mm:.1f} mm away (at most {APART_MM:g} mm)."
    if found.is_mirrored:
        yield MIRRORED
