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
        openvino, cpu_capabilities: of this machine.
    """

    digest: str
    files: int
    dice: float
    minimum_dice: float
    empty: bool
    openvino: str
    cpu_capabilities: tuple[str, ...]


def verify(package: ModelPackage, options: RuntimeOptions) -> Verification:
    """Run the self-test of an opened package (its hashes have been checked by opening it).

    Raises:
        BrainEdgeError: the mask of the phantom is not the one that was shipped.
    """
    test = package.manifest.self_test
    found = outcome(Segmenter.open(package, options, alone=True), stand_in(test.phantom, package.spec))
    # not as a Volume, which refuses an empty image: a model may rightly find nothing in a phantom
    shipped, _ = read_numbers(package.folder / test.mask)
    score = least_dice(found, shipped)
    if score < test.minimum_dice:
        raise BrainEdgeError(
            f"{package.folder}: the self-test gives Dice {score:.5f} against the mask that was shipped, expected at "
            f"least {test.minimum_dice:g}; this machine does not compute what the builder's did, do not use it"
        )
    return Verification(
        digest=package.digest,
        files=len(package.manifest.files),
        dice=score,
        minimum_dice=test.minimum_dice,
        empty=not (found.any() or shipped.any()),
        openvino=runtime_version(),
        cpu_capabilities=cpu_capabilities(),
    )
