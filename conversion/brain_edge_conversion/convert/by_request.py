"""Conversion as a user requests it: a source, and the images for the comparison with PyTorch."""

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
from brain_edge_conversion.convert.expected import Expectation, ExpectedData, read_expectation
from brain_edge_conversion.convert.report import require_report_place
from brain_edge_conversion.convert.stage_zero import name_stage_zero
from brain_edge_conversion.sources import require_no_idle, resolve

if TYPE_CHECKING:
    from brain_edge.image.volume import Study
    from brain_edge.jobs.case import NamedInput
    from brain_edge.package import ModelPackage
    from brain_edge.spec import ModelSpec
    from brain_edge_conversion.convert.convert import ConvertOptions
    from brain_edge_conversion.sources import Request, Resolved


@dataclass(frozen=True, kw_only=True)
class ParityData:
    """Images for the comparison of a package with PyTorch.

    Attributes:
        files: image files of a real head; the recipe's own head by default.
        stage_zero: folder of the skull-stripping package that runs before the new package.
        shown: sequence that the stage 0 sees; needed only if several are possible.
        expected: mask of the user's own program that the package has to make, if any.
    """

    files: tuple[NamedInput, ...] = ()
    stage_zero: Path | None = None
    shown: str | None = None
    expected: ExpectedData | None = None


def convert_request(request: Request, data: ParityData, target: Path | None, options: ConvertOptions) -> ModelPackage:
    """Resolve the source, find a head to compare on, and convert.

    Args:
        request: source of the model, with its options.
        data: images for the comparison.
        target: folder of the package; `NAME-fp32` by default.
        options: conversion options; the stage 0 and the expected mask are taken from `data`.

    Raises:
        UsageError: an option has no effect, no head is named, or an output exists already.
        WeightsError: weights are missing or refused.
        ParityError: OpenVINO does not reproduce PyTorch, or the package does not reproduce the expected mask.
    """
    require_no_idle(request)
    if data.expected is not None and request.random_weights:
        raise UsageError("--expect-mask has no effect with --random-weights; remove one of them")
    if options.account is not None:
        require_report_place(options.account)
    zero = None if data.stage_zero is None else open_package(data.stage_zero)
    resolved = resolve(request)
    spec = resolved.model.spec
    study = parity_study(request, resolved, data)
    expectation = None if data.expected is None else _expectation(data.expected, study, spec)
    if zero is not None:
        named = name_stage_zero(zero, data.shown, spec)
        options = replace(options, stage_zero=named)
    if zero is not None and not spec.removes_skull:  # a preparation removes the skull, and here is a prepared head
        masker = BrainMasker(Segmenter.open(zero), name_stage_zero(zero, data.shown, spec).sequence)
        study, _ = masker(study)
        if expectation is not None:
            expectation = replace(expectation, study=masker(expectation.study)[0])
    options = replace(options, expectation=expectation)
    return convert(resolved.model, resolved.weights, study, target or Path(f"{spec.name}-fp32"), options)


def _expectation(data: ExpectedData, study: Study, spec: ModelSpec) -> Expectation:
    """Read the expected mask of the given head, or of the head of the comparison with PyTorch."""
    head = read_study(assign_inputs(data.files, spec)) if data.files else study
    return read_expectation(data, head, spec)


def parity_study(request: Request, resolved: Resolved, data: ParityData) -> Study:
    """Return the images to compare on: the given files, else the recipe's phantom (random weights), else its head.

    Raises:
        UsageError: none of these exists.
    """
    spec, recipe = resolved.model.spec, resolved.recipe
    if data.files:
        return read_study(assign_inputs(data.files, spec))
    if request.random_weights and recipe is not None and recipe.parity_phantom is not None:
        request.report("random weights: compared on a generated phantom; give --parity-data to use a real head")
        return stand_in(recipe.parity_phantom, spec)
    if recipe is None or recipe.parity_input is None:
        raise UsageError(f"{spec.name}: the comparison with PyTorch needs a real head; give --parity-data FILE")
    return read_study({spec.inputs[0].name: fetch(recipe.parity_input, report=request.report)})
