"""The self-test that travels in a package: a phantom, and the mask that the package made of it here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from brain_edge.engine.phantom_study import outcome, stand_in
from brain_edge.engine.segmenter import Segmenter
from brain_edge.image.phantom import Phantom
from brain_edge.image.volume import Mask
from brain_edge.package.manifest import SelfTest
from brain_edge_conversion.convert.draft import Tested, onward

if TYPE_CHECKING:
    from brain_edge.package import ModelPackage
    from brain_edge_conversion.convert.draft import Compared

SELF_TEST: Final = SelfTest(phantom=Phantom(), mask="selftest/mask.nii.gz", minimum_dice=0.98)


def self_test(draft: Compared) -> Tested:
    """Let the package segment its phantom; with that its manifest is complete."""
    write_self_test(draft.package)
    return onward(draft, Tested, manifest=msgspec.structs.replace(draft.package.manifest, parity=draft.findings.parity))


def write_self_test(package: ModelPackage) -> None:
    """Segment the phantom of the manifest with the graphs as they will be deployed; the mask goes into the package."""
    from brain_edge.io.nifti import write_mask

    test = package.manifest.self_test
    study = stand_in(test.phantom, package.spec)
    mask = Mask(outcome(Segmenter.open(package, alone=True), study), study.geometry)
    path = package.folder / test.mask
    path.parent.mkdir(parents=True, exist_ok=True)
    write_mask(mask, study.volumes[study.reference], path)
