"""The account of a conversion, passed or failed: what `conversion_report` writes, gathered while it is all there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from brain_edge.package import graph_path
from brain_edge.runtime.library import read_model
from brain_edge_conversion.convert.divergence import find_divergence
from brain_edge_conversion.convert.graph_input import example_input
from brain_edge_conversion.convert.parity import exceeds, moved_between
from brain_edge_conversion.convert.report import Allowed, ConversionReport, operators_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from torch import nn

    from brain_edge.package import ModelPackage
    from brain_edge_conversion.convert.divergence import Divergence
    from brain_edge_conversion.convert.parity import Findings, ParityLimits
    from brain_edge_conversion.recipe import ModelSource

_SEED: Final = 0


def account_for(
    package: ModelPackage,
    source: ModelSource,
    published: Mapping[str, nn.Module],
    findings: Findings,
    limits: ParityLimits,
    failure: str,
) -> ConversionReport:
    """What a conversion did and how close it came.

    Args:
        package: the draft, whose graphs are written.
        source: what was converted.
        published: the network of each graph.
        findings: of the parity check, as far as it came.
        limits: that it was judged by.
        failure: its refusal in words, empty where it passed.
    """
    models = {graph: read_model(package.folder / graph_path(graph)) for graph in package.spec.graphs}
    wrong = [graph.graph for graph in findings.graphs if exceeds(graph, limits)]
    return ConversionReport(
        model=package.spec.name,
        passed=not failure,
        failure=failure,
        allowed=Allowed(limits.relative_error, limits.same_label_share, limits.mask_dice),
        graphs=findings.graphs,
        mask_dice=findings.mask_dice,
        input_sha256=findings.input_sha256,
        rewrites=package.manifest.rewrites,
        operators=operators_of(models),
        divergences=tuple(_divergences(package, source, published, {name: models[name] for name in wrong}, limits)),
        made_with=package.manifest.made_with,
    )


def _divergences(
    package: ModelPackage,
    source: ModelSource,
    published: Mapping[str, nn.Module],
    models: Mapping[str, Any],
    limits: ParityLimits,
) -> Iterator[Divergence]:
    networks = {graph: stage.network for stage in source.spec.stages for graph in stage.network.graphs}
    sides = {graph.graph: graph.example_shape for graph in source.graphs}
    moved = moved_between(source.spec, package.spec)
    for name, model in models.items():
        shape = example_input(networks[name].execution, networks[name].channels_in, sides[name])
        noise = np.random.default_rng(_SEED).standard_normal(shape, np.float32)
        affine = moved[name].affine
        seen = noise if affine is None else affine.undone(noise)
        yield find_divergence(name, published[name], model, (noise, seen), limits.relative_error)
