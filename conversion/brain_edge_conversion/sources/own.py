"""Source: a network of the user's own, one graph with the specification of the steps around it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from brain_edge.errors import InputError, UsageError
from brain_edge.machine.paths import read_small
from brain_edge.package.manifest import Card, Licence
from brain_edge.spec.plan import fixed_sides, known_inputs
from brain_edge_conversion.recipe import GraphSource, ModelSource
from brain_edge_conversion.specification import spec_from_json

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from torch import nn

    from brain_edge.image.geometry import Shape
    from brain_edge.spec import ModelSpec
    from brain_edge_conversion.recipe import Reader
    from brain_edge_conversion.sources.request import Request

NOT_STATED: Final = "not stated"
OWN_CARD: Final = Card("A network of the user's own.", NOT_STATED, NOT_STATED, NOT_STATED)
OWN_LICENCE: Final = Licence(NOT_STATED, NOT_STATED)
EXAMPLE_SIDE: Final = 64
"""Side of the volume for tracing a user's network, voxels; divisible by 2 six times."""

NO_RECIPE: Final = dict.fromkeys(("--members", "--flips", "--sequences"), "is no recipe")
ONE_NETWORK: Final = dict.fromkeys(("--members", "--flips"), "is one network, run once")
HOLDS_WEIGHTS: Final = dict.fromkeys(("--weights", "--random-weights"), "holds its weights")
WHOLE_FOLDER: Final = {"--spec": "says its steps itself", "--sequences": "says its sequences itself"} | HOLDS_WEIGHTS
READ_AS_DATA: Final = {"--trust": "is read as data and runs nothing"}
"""Options without effect, with the reason (`SourceKind.idle`)."""


def own_spec(request: Request) -> ModelSpec:
    """Read the specification of one network from `--spec`.

    Raises:
        UsageError: no specification was given, or it names several networks.
        InputError: there is no such file.
        PackageError: the file is no specification.
    """
    if request.spec_file is None:
        raise UsageError(f"{request.source} is no recipe: describe its steps with --spec FILE (see docs/how-to)")
    if not request.spec_file.is_file():
        raise InputError(f"{request.spec_file}: there is no such specification file; check the path after --spec")
    spec = spec_from_json(read_small(request.spec_file), str(request.spec_file))
    if len(spec.graphs) != 1:
        raise UsageError(
            f"{request.spec_file}: expected a specification of one network, got one of {len(spec.graphs)} "
            f"({', '.join(spec.graphs)}); write a recipe for a cascade or an ensemble"
        )
    return spec


def own_model(spec: ModelSpec, build: Callable[[Path | None], nn.Module], read: Reader | None = None) -> ModelSource:
    """Return the model of one network.

    Args:
        spec: specification that names one graph.
        build: function from the weights to the module that the conversion is compared with.
        read: reader of the graph, see `GraphSource`.
    """
    graph = GraphSource(spec.graphs[0], build, None, example_shape(spec), read=read)
    return ModelSource(spec, (graph,), OWN_CARD, OWN_LICENCE)


def has_fixed_sides(spec: ModelSpec) -> bool:
    """Return True if the execution of the only network of a specification gives it one shape, such as a window."""
    return all(shape is not None for _, shape in known_inputs(spec))


def example_shape(spec: ModelSpec) -> Shape:
    """Return sides (I, J, K) that the only network of a specification accepts: those of its window, else defaults."""
    usual = (EXAMPLE_SIDE, EXAMPLE_SIDE, EXAMPLE_SIDE)
    return spec.stages[0].network.execution.seen(fixed_sides(spec.stages[0].before) or usual) or usual
