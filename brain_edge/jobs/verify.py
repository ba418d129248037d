"""verify: does this package do here what it did where it was built?"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from brain_edge.engine.phantom_study import outcome, stand_in
from brain_edge.engine.segmenter import Segmenter
from brain_edge.errors import BrainEdgeError
from brain_edge.image.metrics import least_dice
from brain_edge.io.nifti import read_numbers
from brain_edge.runtime.session import cpu_capabilities, runtime_version

if TYPE_CHECKING:
    from brain_edge.machine.options import RuntimeOptions
    from brain_edge.package import ModelPackage


class Verification(msgspec.Struct, frozen=True, kw_only=True):
    """What was checked.

    Attributes:
        digest: of the package.
        files: how many files have the hash that the manifest states.
        dice: of the self-test's mask against the shipped one, least label.
        minimum_dice: what the package expects.
        empty: both masks are, so that the self-test shows that the package runs, and not what it computes.
        baseline_dice: of the self-test's mask against that of the package that this one was made of, which travels in
            it, least label; None where it was made of none.
        built_baseline_dice, minimum_baseline_dice: the same where it was built, and what it must be anywhere.
        openvino, cpu_capabilities: of this machine.
    """

    digest: str
    files: int
    dice: float
    minimum_dice: float
    empty: bool
    baseline_dice: float | None
    built_baseline_dice: float
    minimum_baseline_dice: float
    openvino: str
    cpu_capabilities: tuple[str, ...]


def verify(package: ModelPackage, options: RuntimeOptions) -> Verification:
    """Run the self-test of an opened package (its hashes have been checked by opening it).

    Raises:
        BrainEdgeError: the mask of the phantom is not the one that was shipped, or too far from the baseline's.
    """
    test = package.manifest.self_test
    found = outcome(Segmenter.open(package, options, alone=True), stand_in(test.phantom, package.spec))
    # not as Volumes, which refuse an empty image: a model may rightly find nothing in a phantom
    files = (test.mask, test.baseline) if test.baseline else (test.mask,)
    scores = [least_dice(found, read_numbers(package.folder / file)[0]) for file in files]
    leasts = (test.minimum_dice, test.minimum_baseline_dice)
    whose = ("the mask that was shipped", "the mask of the package that it was made of")
    for score, least, whom in zip(scores, leasts, whose, strict=False):
        if score < least:
            raise BrainEdgeError(
                f"{package.folder}: the self-test gives Dice {score:.5f} against {whom}, expected at least "
                f"{least:.5g}; this machine does not compute what the builder's did, do not use it"
            )
    return Verification(
        digest=package.digest,
        files=len(package.manifest.files),
        dice=scores[0],
        minimum_dice=test.minimum_dice,
        empty=not found.any(),
        baseline_dice=scores[1] if test.baseline else None,
        built_baseline_dice=test.baseline_dice,
        minimum_baseline_dice=test.minimum_baseline_dice,
        openvino=runtime_version(),
        cpu_capabilities=cpu_capabilities(),
    )
