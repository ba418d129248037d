"""The self-test that travels in a package: a phantom, and the mask that the package made of it here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from brain_edge.engine.phantom_study import outcome, stand_in
from brain_edge.engine.segmenter import Segmenter
from brain_edge.image.phantom import Phantom
from brain_edge.image.volume import Mask
from brain_edge.package.manifest import SelfTest

if TYPE_CHECKING:
    from brain_edge.package import ModelPackage

SELF_TEST: Final = SelfTest(phantom=Phantom(), mask="selftest/mask.nii.gz", minimum_dice=0.98)


def write_self_test(package: ModelPackage) -> None:
    """Segment the phantom of the manifest with the graphs as they will be deployed; the mask goes into the package."""
    from brain_edge.io.nifti import write_mask

    test = package.manifest.self_test
    study = stand_in(test.phantom, package.spec)
    mask = Mask(outcome(Segmenter.open(package, alone=True), study), study.geometry)
    path = package.folder / test.mask
    path.parent.mkdir(parents=True, exist_ok=True)
    write_mask(mask, study.volumes[study.reference], path)
