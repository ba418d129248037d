"""Source: a published model by the name of its recipe; its weights are identified by their hash."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from brain_edge.deploy.fetch import fetch
from brain_edge.errors import WeightsError
from brain_edge_conversion.recipe import SHIPPED
from brain_edge_conversion.recipes import load_recipe, recipe_names
from brain_edge_conversion.sources.request import Request, Resolved, SourceKind
from brain_edge_conversion.sources.weights import named_weights, require_sha256
from brain_edge_conversion.weights.shipped import shipped_file

if TYPE_CHECKING:
    from pathlib import Path

    from brain_edge_conversion.recipe import GraphSource, ModelSource


def _resolve(request: Request) -> Resolved:
    recipe = load_recipe(request.source)
    variant = replace(request.variant, members=recipe.members) if request.all_members else request.variant
    model = recipe.variant(variant)
    return Resolved(model, _recipe_weights(model, request), recipe)


def _recipe_weights(model: ModelSource, request: Request) -> dict[str, Path | None]:
    if request.random_weights:
        return {graph.graph: None for graph in model.graphs}
    given = named_weights(request.weights, [graph.graph for graph in model.graphs])
    return {graph.graph: _weights_of(graph, given.get(graph.graph), model, request) for graph in model.graphs}


def _weights_of(graph: GraphSource, given: Path | None, model: ModelSource, request: Request) -> Path:
    known = graph.weights
    if given is not None:
        if known is not None:
            require_sha256(given, known.sha256)
        return given
    if known is None or not known.fetchable:
        where = f"; {known.source}" if known is not None else ""
        raise WeightsError(
            f"the weights of {model.spec.name} cannot be fetched: give the file with --weights FILE{where}. "
            "To convert the bare network for speed measurements, use --random-weights"
        )
    if known.source.startswith(SHIPPED):
        path = shipped_file(known.source)
        require_sha256(path, known.sha256)
        return path
    return fetch(known.source, member_sha256=known.sha256, report=request.report)


KIND: Final = SourceKind(
    name=f"recipe ({', '.join(recipe_names())})",
    claims=lambda source: source in recipe_names(),
    resolve=_resolve,
    idle={"--spec": "is a recipe and has its own"},
)
