"""Verify that a package computes on this machine what it computed where it was built."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from brain_edge.engine.phantom_study import outcome, stand_in
from brain_edge.engine.segmenter import Segmenter
from brain_edge.errors import BrainEdgeError, InputError, PackageError
from brain_edge.image.metrics import least_dice
from brain_edge.io.nifti import read_numbers
from brain_edge.runtime.session import cpu_capabilities, runtime_version

if TYPE_CHECKING:
    from brain_edge.machine.options import RuntimeOptions
    from brain_edge.package import ModelPackage


class Verification(msgspec.Struct, frozen=True, kw_only=True):
    """Result of a verification.

    Attributes:
        digest: digest of the package.
        files: number of files whose hash the manifest confirms.
        dice: Dice of the self-test's mask with the shipped mask, minimum over the labels.
        minimum_dice: minimum that the package expects.
        empty: True if both masks are empty; the self-test then shows only that the package runs.
        baseline_dice: Dice of the self-test's mask with the shipped mask of the baseline package, minimum over the
            labels; None without a baseline.
        built_baseline_dice, minimum_baseline_dice: the same Dice at build time, and its minimum on any machine.
        openvino, cpu_capabilities: version and CPU capabilities of this machine.
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
    """Run the self-test of an opened package, whose hashes were checked when it was opened.

    Raises:
        PackageError: a shipped mask cannot be read, or has another grid.
        BrainEdgeError: the mask of the phantom differs from the shipped mask, or too much from the baseline's mask.
    """
    test = package.manifest.self_test
    found = outcome(Segmenter.open(package, options, alone=True), stand_in(test.phantom, package.spec))
    # not read as a Volume, which refuses an empty image: a model may rightly find nothing in a phantom
    files = (test.mask, test.baseline) if test.baseline else (test.mask,)
    try:
        scores = [least_dice(found, read_numbers(package.folder / file)[0]) for file in files]
    except (InputError, ValueError) as error:
        raise PackageError(f"the self-test has no usable mask ({error}); copy the package again") from error
    leasts = (test.minimum_dice, test.minimum_baseline_dice)
    whose = ("the shipped mask", "the mask of the baseline package")
    for score, least, whom in zip(scores, leasts, whose, strict=False):
        if score < least:
            raise BrainEdgeError(
                f"{package.folder}: the self-test expected Dice of at least {least:.5g} with {whom}, got "
                f"{score:.5f}; this machine computes other masks, do not use the package on it"
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
