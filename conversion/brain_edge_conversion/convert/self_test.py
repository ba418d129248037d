"""Stage 7 of a conversion: the package's self-test, a phantom and the mask that the package makes of it here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec
import numpy as np
from msgspec import UNSET

from brain_edge.engine.phantom_study import outcome, stand_in
from brain_edge.engine.segmenter import Segmenter
from brain_edge.errors import InputError
from brain_edge.image.metrics import least_dice
from brain_edge.image.phantom import Phantom
from brain_edge.image.volume import Mask
from brain_edge.package import ModelPackage
from brain_edge.package.manifest import SelfTest
from brain_edge_conversion.convert.draft import Tested, onward

if TYPE_CHECKING:
    from brain_edge.image.geometry import Geometry
    from brain_edge.image.volume import LabelArray
    from brain_edge_conversion.convert.draft import Compared

SELF_TEST: Final = SelfTest(phantom=Phantom(), mask="selftest/mask.nii.gz", minimum_dice=0.98)


def self_test(draft: Compared) -> Tested:
    """Segment the phantom with the package and complete the manifest.

    If the network takes the size of the head but not that of the phantom, the phantom is made as large as the head.
    """
    package = draft.package
    try:
        write_self_test(package)
    except InputError:
        phantom = like(draft.study.volumes[draft.study.reference].geometry)
        draft.options.report(f"self-test: a phantom of the head's size, {' x '.join(map(str, phantom.shape))}")
        test = msgspec.structs.replace(package.manifest.self_test, phantom=phantom)
        package = ModelPackage(package.folder, msgspec.structs.replace(package.manifest, self_test=test))
        write_self_test(package)
    findings = draft.findings
    manifest = msgspec.structs.replace(package.manifest, parity=findings.parity, expected=findings.expected or UNSET)
    return onward(draft, Tested, package=package, manifest=manifest)


def like(head: Geometry) -> Phantom:
    """Return a phantom with the sides of a head, in RAS order, and voxels of the same volume."""
    i, j, k = (
        side
        for pair in ("RL", "AP", "SI")
        for side, axis in zip(head.shape, head.orientation, strict=True)
        if axis in pair
    )
    return Phantom(shape=(i, j, k), spacing_mm=float(np.cbrt(np.prod(head.spacing_mm))))


def write_self_test(package: ModelPackage) -> LabelArray:
    """Segment the manifest's phantom with the graphs as deployed, and write the mask into the package."""
    return _write(package, package, package.manifest.self_test.mask)


def with_baseline_test(package: ModelPackage, baseline: ModelPackage, room: float) -> ModelPackage:
    """Return a package whose self-test also compares with the baseline's mask.

    The disagreement of both masks on this machine is no fault of another machine. Another machine may add as much
    disagreement as the budget allows for heads.

    Args:
        package: package that is not sealed yet; both masks are written into it.
        baseline: package that `package` was made from.
        room: largest mean disagreement (1 - Dice) that the budget allows.
    """
    test, name = package.manifest.self_test, "selftest/baseline.nii.gz"
    agreed = least_dice(write_self_test(package), _write(package, baseline, name))
    test = msgspec.structs.replace(
        test, baseline=name, baseline_dice=agreed, minimum_baseline_dice=max(0.0, agreed - room)
    )
    return ModelPackage(package.folder, msgspec.structs.replace(package.manifest, self_test=test))


def _write(package: ModelPackage, segmenting: ModelPackage, name: str) -> LabelArray:
    """Segment the phantom of `package` with the package `segmenting`, and write the mask into `package`."""
    from brain_edge.io.nifti import write_mask

    study = stand_in(package.manifest.self_test.phantom, package.spec)
    mask = Mask(outcome(Segmenter.open(segmenting, alone=True), study), study.geometry)
    path = package.folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    write_mask(mask, study.volumes[study.reference], path)
    return mask.labels
