"""Judgement of a registration, or of images that are said to lie over each other.

The judge asks its own similarity, not the program that found the transform. It needs no extra. The limits stand here,
each with its reason; docs/decisions/0042-registration.md says what they were measured on.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Final, TypeAlias

import numpy as np

from brain_edge.image.metrics import dice
from brain_edge.image.resample import Interpolation
from brain_edge.registration.nearby import best_nearby, brain_corners, mirror
from brain_edge.registration.rigid import Rigid
from brain_edge.registration.similarity import Sampler
from brain_edge.registration.through import resample_through
from brain_edge.registration.working import Pair

if TYPE_CHECKING:
    from collections.abc import Iterator

    from brain_edge.image.volume import Mask, Volume

Finding: TypeAlias = "tuple[Verdict, str]"

SPACING_MM: Final = 3.0
"""Spacing of the points that are compared: about 50,000 in a brain, and gyri still differ between people."""
DRIFT_DOUBTFUL_MM: Final = 2.5
"""Mean distance to a better place nearby that is flagged: below the 3 mm that must never pass, above the finest step
of the search (1.5 mm), which two axes can make by chance."""
DRIFT_FAILED_MM: Final = 4.0
"""Mean distance to a better place nearby that is refused: no network was trained on sequences so far apart."""
UNLIKE_DOUBTFUL: Final = 1.18
UNLIKE_FAILED: Final = 1.1
"""Similarity above chance over that of the mirrored moving image. One brain was 1.24 times and more as alike, and two
brains are as alike as a brain and a mirrored one."""
OVERLAP_DOUBTFUL: Final = 0.90
OVERLAP_FAILED: Final = 0.85
"""Dice of the brain masks of two sequences of one person: two masks of one brain agree at 0.93 and more."""
NO_SIMILARITY: Final = 1.005
"""Similarity that images of two unrelated things reach by chance."""
UNRELATED: Final = "The images do not overlap, or show nothing in common."
MIRRORED: Final = "The left-right mirrored image fits better: one of both headers exchanges left and right."
ATLAS_OVERLAP_FAILED: Final = 0.75
"""Dice of the brain mask and that of an atlas: a rigid transform keeps the size of the brain, which differs."""


class Verdict(StrEnum):
    """Judgement of a registration."""

    GOOD = "good"
    """No limit is exceeded: use the transform."""
    DOUBTFUL = "doubtful"
    """A limit of doubt is exceeded: a person must look at the picture first."""
    FAILED = "failed"
    """The images do not lie over each other: never use the transform."""


@dataclass(frozen=True)
class Judgement:
    """What speaks for and against a transform.

    Attributes:
        verdict: the most severe finding.
        reasons: one sentence for each limit that is exceeded; empty if the transform is good.
        similarity_before: normalised mutual information where the headers put the images, 1 to 2.
        similarity: the same at the transform.
        similarity_mirrored: the same of the mirrored moving image at its best place nearby.
        overlap: Dice of the brain masks at the transform; None without both masks.
        displacement_mm: mean movement of the corners of the brain by the transform, mm.
        angle_deg: angle of its rotation, degrees.
        drift_mm: mean distance of these corners to the best place nearby, mm; 0 if no place nearby is better.
        similarity_nearby: similarity at the best place nearby.
    """

    verdict: Verdict
    reasons: tuple[str, ...]
    similarity_before: float
    similarity: float
    similarity_mirrored: float
    overlap: float | None
    displacement_mm: float
    angle_deg: float
    drift_mm: float
    similarity_nearby: float = 1.0

    @property
    def times_mirrored(self) -> float:
        """Similarity above chance, as a multiple of that of the mirrored moving image."""
        return (self.similarity - 1) / max(self.similarity_mirrored - 1, 1e-6)

    @property
    def is_mirrored(self) -> bool:
        """True if the mirrored moving image fits so much better that one header exchanges left and right."""
        # a mirrored image at its best place is compared with the image at its own best place
        return (max(self.similarity, self.similarity_nearby) - 1) * UNLIKE_FAILED < self.similarity_mirrored - 1


def judge(
    moving: Volume,
    fixed: Volume,
    transform: Rigid,
    *,
    masks: tuple[Mask | None, Mask | None] = (None, None),
    same_person: bool = True,
) -> Judgement:
    """Judge a transform; the identity judges images that are said to lie over each other.

    Args:
        moving: image that was registered.
        fixed: image to which it was registered.
        transform: map from the world of `fixed` to the world of `moving`.
        masks: brain masks of `moving` and `fixed`, each on the grid of its image or any other grid in its world.
        same_person: False for an atlas, which is nobody's brain.
    """
    moving_mask, fixed_mask = masks
    sampler = Sampler.of(Pair(fixed, moving, fixed_mask, moving_mask), SPACING_MM)
    corners = brain_corners(sampler.points)
    at = sampler.nmi(transform.matrix)
    best, better = best_nearby(sampler, transform.matrix)
    mirrored, _ = best_nearby(sampler, mirror(sampler, transform) @ transform.matrix)
    found = Judgement(
        verdict=Verdict.GOOD,
        reasons=(),
        similarity_before=sampler.nmi(np.eye(4)),
        similarity=at,
        similarity_mirrored=mirrored,
        overlap=_overlap(moving_mask, fixed_mask, transform),
        displacement_mm=float(transform.displacement_mm(corners).mean()),
        angle_deg=transform.angle_deg,
        drift_mm=float(Rigid(np.linalg.inv(transform.matrix) @ better).displacement_mm(corners).mean())
        if best > at
        else 0.0,
        similarity_nearby=best,
    )
    return _with_verdict(found, same_person=same_person)


def _with_verdict(found: Judgement, *, same_person: bool) -> Judgement:
    findings = [*_of_place(found), *(_of_person(found) if same_person else _of_atlas(found))]
    severity = [verdict for verdict, _ in findings]
    worst = next((each for each in (Verdict.FAILED, Verdict.DOUBTFUL) if each in severity), Verdict.GOOD)
    return replace(found, verdict=worst, reasons=tuple(sentence for _, sentence in findings))


def _of_place(found: Judgement) -> Iterator[Finding]:
    """Findings about the place, whoever the images show."""
    if found.similarity <= NO_SIMILARITY:
        yield Verdict.FAILED, UNRELATED
    elif found.similarity < found.similarity_before:
        yield Verdict.FAILED, "The images are less alike after the registration than where their headers put them."
    if found.drift_mm > DRIFT_DOUBTFUL_MM:
        severity = Verdict.FAILED if found.drift_mm > DRIFT_FAILED_MM else Verdict.DOUBTFUL
        yield severity, f"The images are more alike {found.drift_mm:.1f} mm away (at most {DRIFT_DOUBTFUL_MM:g} mm)."


def _of_person(found: Judgement) -> Iterator[Finding]:
    """Findings about two images that must show one person."""
    times = found.times_mirrored
    if found.is_mirrored:
        yield Verdict.FAILED, MIRRORED
    elif times < UNLIKE_DOUBTFUL:
        severity = Verdict.FAILED if times < UNLIKE_FAILED else Verdict.DOUBTFUL
        yield severity, f"The image fits only {times:.2f} times as well as mirrored: do both images show one person?"
    if found.overlap is not None and found.overlap < OVERLAP_DOUBTFUL:
        severity = Verdict.FAILED if found.overlap < OVERLAP_FAILED else Verdict.DOUBTFUL
        yield severity, f"The brain masks overlap at a Dice of {found.overlap:.2f} (at least {OVERLAP_DOUBTFUL})."


def _of_atlas(found: Judgement) -> Iterator[Finding]:
    """Findings about an image on an atlas."""
    if found.overlap is not None and found.overlap < ATLAS_OVERLAP_FAILED:
        yield (
            Verdict.FAILED,
            f"Brain and atlas overlap at a Dice of {found.overlap:.2f} (at least {ATLAS_OVERLAP_FAILED}).",
        )


def _overlap(moving: Mask | None, fixed: Mask | None, transform: Rigid) -> float | None:
    """Return the Dice of both masks on the grid of the fixed mask."""
    if moving is None or fixed is None:
        return None
    moved = resample_through(moving, transform, fixed.geometry, Interpolation.NEAREST)
    return dice(moved.labels > 0, fixed.labels > 0)
