"""The account of a conversion, passed or refused: its report, from the last draft that there was."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from brain_edge.package import graph_path
from brain_edge.runtime.library import read_model
from brain_edge_conversion.convert.divergence import find_divergence
from brain_edge_conversion.convert.draft import stage_of
from brain_edge_conversion.convert.parity import exceeds, moved_between
from brain_edge_conversion.convert.report import Allowed, ConversionReport, operators_of, write_conversion_report

if TYPE_CHECKING:
    from brain_edge_conversion.convert.divergence import Divergence
    from brain_edge_conversion.convert.draft import Compared

_SEED: Final = 0


def account_for(draft: Compared) -> None:
    """Write the report of a conversion where one is wanted, whether its comparison passed or not."""
    if draft.options.account is None:
        return
    for path in write_conversion_report(_report(draft), draft.options.account):
        draft.options.report(f"report: {path}")


def _report(draft: Compared) -> ConversionReport:
    package, limits, parity = draft.package, draft.options.limits, draft.findings.parity
    models = {graph: read_model(package.folder / graph_path(graph)) for graph in package.spec.graphs}
    wrong = [graph.graph for graph in parity.graphs if exceeds(graph, limits)]
    return ConversionReport(
        model=package.spec.name,
        passed=not draft.findings.failure,
        failure=draft.findings.failure,
        allowed=Allowed(limits.relative_error, limits.same_label_share, limits.mask_dice),
        graphs=parity.graphs,
        mask_dice=parity.mask_dice,
        input_sha256=parity.input_sha256,
        rewrites=package.manifest.rewrites,
        operators=operators_of(models),
        divergences=tuple(_divergence(draft, graph, models[graph]) for graph in wrong),
        made_with=package.manifest.made_with,
    )


def _divergence(draft: Compared, graph: str, model: Any) -> Divergence:
    """Where a graph begins to differ from the published network, on noise."""
    spec = draft.source.spec
    network = stage_of(spec, graph).network
    sides = next(each.example_shape for each in draft.source.graphs if each.graph == graph)
    shape = network.execution.example_input(network.channels_in, sides)
    noise = np.random.default_rng(_SEED).standard_normal(shape, np.float32)
    affine = moved_between(spec, draft.package.spec)[graph].affine
    seen = noise if affine is None else affine.undone(noise)
    allowed = draft.options.limits.relative_error
    return find_divergence(graph, draft.published[graph], model, (noise, seen), allowed)
