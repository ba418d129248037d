"""Stage 5 of a conversion: the graphs on disk, and their manifest."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import UNSET

from brain_edge.package import Manifest, ModelPackage, NumberFormat, WeightsStatus, graph_path
from brain_edge.package.digest import sha256_of
from brain_edge.package.manifest import WeightsRecord
from brain_edge_conversion.convert.draft import Saved, onward
from brain_edge_conversion.convert.self_test import SELF_TEST
from brain_edge_conversion.convert.versions import tool_versions
from brain_edge_conversion.sealing.graph import save_graph

if TYPE_CHECKING:
    from pathlib import Path

    from brain_edge_conversion.convert.draft import Traced
    from brain_edge_conversion.recipe import GraphSource


def save(draft: Traced) -> Saved:
    """Write every graph with the specification, which is complete once the last graph is traced."""
    for name, model in draft.models.items():
        save_graph(model.clone(), draft.folder / graph_path(name), draft.spec)
    return onward(draft, Saved, package=ModelPackage(draft.folder, _manifest(draft)))


def _manifest(draft: Traced) -> Manifest:
    source, status = draft.source, _weights_status(draft)
    fitted_on = source.fitted_on if status is WeightsStatus.FIT_FOR_TESTING else None
    return Manifest(
        spec=draft.spec,
        weights_status=status,
        fitted_on=UNSET if fitted_on is None else fitted_on,
        number_format=NumberFormat.FP32,
        precision=draft.options.precision,
        weights=tuple(_weights_record(graph, draft.weights[graph.graph]) for graph in source.graphs),
        rewrites=draft.rewrites,
        made_with=tool_versions(),
        licence=source.licence,
        card=source.card,
        self_test=SELF_TEST,
        stage_zero=draft.options.stage_zero or UNSET,
    )


def _weights_status(draft: Traced) -> WeightsStatus:
    if any(path is None for path in draft.weights.values()):
        return WeightsStatus.RANDOM
    return WeightsStatus.TRAINED if draft.source.fitted_on is None else WeightsStatus.FIT_FOR_TESTING


def _weights_record(graph: GraphSource, path: Path | None) -> WeightsRecord:
    if path is None:
        return WeightsRecord(graph=graph.graph, source="random", sha256="0" * 64)
    # never the path: a folder name may contain a user's or a patient's name
    described = graph.weights.source if graph.weights is not None else "a file of the user"
    return WeightsRecord(graph=graph.graph, source=described, sha256=graph.sha256 or sha256_of(path))
