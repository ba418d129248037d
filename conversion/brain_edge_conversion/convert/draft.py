"""Drafts of a conversion: each stage takes one frozen draft and returns the next, with its own decisions added."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, TypeVar

from brain_edge.package import Precision
from brain_edge_conversion.convert.parity import ParityLimits

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from torch import nn

    from brain_edge.image.volume import Study
    from brain_edge.package import Manifest, ModelPackage
    from brain_edge.package.manifest import StageZero
    from brain_edge.spec import ModelSpec, Stage
    from brain_edge_conversion.convert.expected import Expectation
    from brain_edge_conversion.convert.parity import Findings
    from brain_edge_conversion.recipe import ModelSource


@dataclass(frozen=True, kw_only=True)
class ConvertOptions:
    """Options of a conversion.

    Attributes:
        precision: precision in which the package will run.
        rewrites: True to apply the exact rewrites; a plain conversion usually fails the comparison.
        limits: limits of the parity check.
        report: function that receives progress lines, one at a time.
        account: folder, .json or .html file for the conversion report; written for a refusal too.
        stage_zero: package that runs before this one, if any.
        overwrite: True to replace a package of the same name.
        expectation: mask that the package has to make of a head, if any.
    """

    precision: Precision = Precision.F32
    rewrites: bool = True
    limits: ParityLimits = field(default_factory=ParityLimits)
    report: Callable[[str], None] = lambda _line: None
    account: Path | None = None
    stage_zero: StageZero | None = None
    overwrite: bool = False
    expectation: Expectation | None = None


@dataclass(frozen=True, kw_only=True)
class Order:
    """First draft: the model and the options.

    Attributes:
        source: model to convert.
        weights: weights file of each graph; None for random weights.
        study: images of a real head for the parity check.
        folder: folder in which the package is made.
        options: conversion options.
    """

    source: ModelSource
    weights: Mapping[str, Path | None]
    study: Study
    folder: Path
    options: ConvertOptions


@dataclass(frozen=True, kw_only=True)
class Built(Order):
    """Draft with the PyTorch module of each graph, in the state in which its program runs it."""

    published: Mapping[str, nn.Module]


@dataclass(frozen=True, kw_only=True)
class Probed(Built):
    """Draft with networks that are functions of their input, and each graph's layers with a known silent fault."""

    suspects: Mapping[str, Sequence[str]]


@dataclass(frozen=True)
class Rewrite:
    """Network to trace (a separate module if anything was changed), and the changes in words."""

    network: nn.Module
    lines: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Rewritten(Probed):
    """Draft with the network to trace for each graph, and the steps around it."""

    spec: ModelSpec
    rewritten: Mapping[str, Rewrite]


@dataclass(frozen=True, kw_only=True)
class Traced(Rewritten):
    """Draft with an `openvino.Model` of each graph, the steps around it, and all rewrites in words."""

    models: Mapping[str, Any]
    rewrites: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Saved(Probed):
    """Draft with a package that can run; the models are released, because the files now hold all weights."""

    package: ModelPackage


@dataclass(frozen=True, kw_only=True)
class Compared(Saved):
    """Draft with the differences from PyTorch, and whether they exceed the limits."""

    findings: Findings


@dataclass(frozen=True, kw_only=True)
class Tested(Compared):
    """Draft with the phantom's mask in the folder, and a manifest that lacks only the hashes of the files."""

    manifest: Manifest


Next = TypeVar("Next", bound=Order)


def onward(draft: Order, kind: type[Next], **decided: Any) -> Next:
    """Return the next draft: the decisions of one stage, and all earlier fields that the next draft keeps."""
    stands = vars(draft)
    return kind(**{each.name: stands[each.name] for each in fields(kind) if each.name in stands} | decided)


def stage_of(spec: ModelSpec, graph: str) -> Stage:
    """Return the stage that runs a graph."""
    return next(stage for stage in spec.stages if graph in stage.network.graphs)
