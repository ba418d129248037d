"""Reference from a new package to its stage 0, the package that runs before it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import UNSET

from brain_edge.errors import UsageError
from brain_edge.package.manifest import StageZero
from brain_edge.package.trained import require_trained
from brain_edge.spec import Task

if TYPE_CHECKING:
    from brain_edge.package import ModelPackage
    from brain_edge.spec import ModelSpec


def name_stage_zero(package: ModelPackage, sequence: str | None, spec: ModelSpec) -> StageZero:
    """Return the reference from a new package to its stage 0.

    Args:
        package: skull-stripping package.
        sequence: sequence of the new model that the stage 0 sees; needed only if several are possible.
        spec: specification of the new model.

    Raises:
        UsageError: the package strips no skulls, takes several sequences or has a stage 0 itself, or the sequence that
            it sees is ambiguous.
        WeightsError: the weights of the package are random.
    """
    zero, names = package.spec, [each.name for each in spec.inputs]
    faults = {
        "a package that strips skulls": (zero.task is Task.SKULL_STRIPPING, f"one for {zero.task}"),
        "one of a single sequence": (len(zero.inputs) == 1, f"one of {len(zero.inputs)}"),
        "one without a stage 0 of its own": (package.manifest.stage_zero is UNSET, "one that names another package"),
        "a segmentation network after it": (not spec.makes_images, "one that makes images"),
    }
    for wanted, (holds, got) in faults.items():
        if not holds:
            raise UsageError(f"--stage-zero {package.folder}: expected {wanted}, got {got}; remove the option")
    require_trained(package, "expected trained ones for --stage-zero; name another package")
    shown = sequence or (zero.inputs[0].name if zero.inputs[0].name in names else names[0] if len(names) == 1 else None)
    if shown not in names:
        raise UsageError(
            f"--stage-zero {package.folder}: expected one of the sequences {', '.join(names)} as its input, got "
            f"{shown or 'none'}; name the sequence, for example --stage-zero {names[0]}={package.folder}"
        )
    return StageZero(name=zero.name, digest=package.digest, sequence=shown)
