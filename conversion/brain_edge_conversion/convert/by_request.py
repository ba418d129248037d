"""A conversion as a user asks for it: a source, and what it is to be compared on."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from brain_edge.deploy.fetch import fetch
from brain_edge.engine.phantom_study import stand_in
from brain_edge.engine.segmenter import Segmenter
from brain_edge.engine.stage_zero import BrainMasker
from brain_edge.errors import UsageError
from brain_edge.jobs.case import assign_inputs, read_study
from brain_edge.package import open_package
from brain_edge_conversion.convert.convert import convert
from brain_edge_conversion.convert.report import require_report_place
from brain_edge_conversion.convert.stage_zero import name_stage_zero
from brain_edge_conversion.sources import require_no_idle, resolve

if TYPE_CHECKING:
    from brain_edge.image.volume import Study
    from brain_edge.jobs.case import NamedInput
    from brain_edge.package import ModelPackage
    from brain_edge_conversion.convert.convert import ConvertOptions
    from brain_edge_conversion.sources import Request, Resolved


@dataclass(frozen=True, kw_only=True)
class ParityData:
    """What a package is compared with PyTorch on.

    Attributes:
        files: of a real head; the recipe's own unless given.
        stage_zero: folder of the skull-stripper that runs before the package.
        shown: the sequence that it sees; may be left out where it is clear.
    """

    files: tuple[NamedInput, ...] = ()
    stage_zero: Path | None = None
    shown: str | None = None


def convert_request(request: Request, data: ParityData, target: Path | None, options: ConvertOptions) -> ModelPackage:
    """Find out what is meant, find a head to compare on, and convert.

    Args:
        request: the source, and what goes with it.
        data: what the package is compared on.
        target: the folder of the package; `NAME-fp32` unless given.
        options: how; a stage 0 follows from `data`.

    Raises:
        UsageError: an option would do nothing, no head is named, or an output is there already.
        WeightsError: weights are missing or refused.
        ParityError: OpenVINO does not reproduce PyTorch.
    """
    require_no_idle(request)
    if options.account is not None:
        require_report_place(options.account)
    zero = None if data.stage_zero is None else open_package(data.stage_zero)
    resolved = resolve(request)
    spec = resolved.model.spec
    study = parity_study(request, resolved, data)
    if zero is not None:
        named = name_stage_zero(zero, data.shown, spec)
        study, _ = BrainMasker(Segmenter.open(zero), named.sequence)(study)
        options = replace(options, stage_zero=named)
    return convert(resolved.model, resolved.weights, study, target or Path(f"{spec.name}-fp32"), options)


def parity_study(request: Request, resolved: Resolved, data: ParityData) -> Study:
    """The files that are given; else for random weights the recipe's phantom, where it has one; else its head.

    Raises:
        UsageError: there is none of these.
    """
    spec, recipe = resolved.model.spec, resolved.recipe
    if data.files:
        return read_study(assign_inputs(data.files, spec))
    if request.random_weights and recipe is not None and recipe.parity_phantom is not None:
        request.report("random weights: compared on a generated phantom; for a real head give --parity-data")
        return stand_in(recipe.parity_phantom, spec)
    if recipe is None or recipe.parity_input is None:
        raise UsageError(f"{spec.name}: give a real head to compare with PyTorch on: --parity-data FILE")
    return read_study({spec.inputs[0].name: fetch(recipe.parity_input, report=request.report)})
