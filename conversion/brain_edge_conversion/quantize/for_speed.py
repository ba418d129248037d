"""INT8 without a budget: a network with random weights has no accuracy to judge, only speed to measure."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import msgspec

from brain_edge.errors import UsageError
from brain_edge.package import ModelPackage, NumberFormat, WeightsStatus
from brain_edge_conversion.budget.capture import capture_inputs
from brain_edge_conversion.budget.work_folder import draft_folder, scratch_folder
from brain_edge_conversion.convert.self_test import write_self_test
from brain_edge_conversion.convert.versions import tool_versions
from brain_edge_conversion.quantize.ladder import Preset, Setting
from brain_edge_conversion.quantize.policy import Trial
from brain_edge_conversion.quantize.space import TOOLS, quantise_package, require_float
from brain_edge_conversion.sealing.place import package_folder, require_other
from brain_edge_conversion.sealing.writer import seal

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from brain_edge.image.volume import Study, Volume
    from brain_edge.machine.options import RuntimeOptions


def quantize_for_speed(
    package: ModelPackage,
    studies: Iterable[Study | Volume],
    target: Path,
    preset: Preset,
    runtime: RuntimeOptions,
    *,
    overwrite: bool = False,
) -> ModelPackage:
    """Quantise every graph at the fastest setting; the package states that its weights are random.

    Args:
        package: FP32 package with random weights.
        studies: images that set the ranges of the activations; a phantom is enough.
        target: folder of the INT8 package; it appears complete or not at all.
        preset: NNCF preset.
        runtime: runtime options for running the package on the studies.
        overwrite: True to replace a package of the same name.

    Raises:
        UsageError: the package is INT8 already, or its weights are trained, so their loss must be measured.
    """
    require_float(package)
    if package.manifest.weights_status is not WeightsStatus.RANDOM:
        raise UsageError(
            f"{package.folder}: --for-speed is for random weights, and these are trained; replace it by --max-dice-drop"
        )
    place, draft = target.resolve(), draft_folder(target.resolve())
    require_other(target, package.folder)
    with scratch_folder(place) as scratch, package_folder(target, overwrite=overwrite, draft=draft) as draft:
        inputs = capture_inputs(package, studies, scratch, replace(runtime, as_they_are=True))
        quantise_package(Trial(setting=Setting(preset=preset)), package, inputs, draft)
        manifest = msgspec.structs.replace(
            package.manifest,
            number_format=NumberFormat.INT8,
            made_with=package.manifest.made_with | tool_versions(TOOLS),
            converted_from=package.digest,
        )
        quantised = ModelPackage(draft, manifest)
        write_self_test(quantised)
        sealed = seal(draft, quantised.manifest)
    return ModelPackage(target, sealed.manifest)
