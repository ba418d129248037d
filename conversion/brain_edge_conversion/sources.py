"""What `convert` is given, resolved: a recipe by name, `module:attribute`, or a TorchScript file.

The last two are code of somebody else's: they run only when the user has said so.
"""

from __future__ import annotations

import importlib
import importlib.machinery
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from brain_edge.digest import sha256_of
from brain_edge.errors import InputError, UsageError, WeightsError
from brain_edge.fetch import fetch
from brain_edge.package.manifest import Card, Licence
from brain_edge.spec import spec_from_json
from brain_edge_conversion.recipe import GraphSource, ModelSource, Variant, same_each_time
from brain_edge_conversion.recipes import load_recipe, recipe_names

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from torch import nn

    from brain_edge_conversion.recipe import Recipe

TORCHSCRIPT_SUFFIXES: Final = (".pt", ".pth", ".ts")
USER_CARD: Final = Card(
    summary="A network of the user's own.",
    citation="not stated",
    published_figures="not stated",
    limits="not stated",
)
USER_LICENCE: Final = Licence(name="not stated", holder="not stated")
EXAMPLE_SIDE: Final = 64
"""Side of the volume that a network of the user's is traced with: divisible by 2 six times."""


@dataclass(frozen=True, kw_only=True)
class Request:
    """What the user asks to be converted.

    Attributes:
        source: recipe, `module:attribute`, or the path of a TorchScript file.
        weights: a weights file per graph; the name may be empty where the model has one graph.
        spec_file: JSON of the ModelSpec, for everything but recipes.
        variant: of a recipe.
        random_weights: do not look for weights; the package is marked.
        trust: the user says that the code may run.
        report: told what is fetched.
    """

    source: str
    weights: Mapping[str, Path] = field(default_factory=dict)
    spec_file: Path | None = None
    variant: Variant = field(default_factory=Variant)
    random_weights: bool = False
    trust: bool = False
    report: Callable[[str], None] = lambda _line: None


@dataclass(frozen=True)
class Resolved:
    """A model, its weights on disk (None: random), and the recipe that it came from, if any."""

    model: ModelSource
    weights: Mapping[str, Path | None]
    recipe: Recipe | None


def resolve(request: Request) -> Resolved:
    """Find out what is meant, and have every weights file on disk.

    Raises:
        UsageError: no such recipe, a spec is missing, or code that was not trusted.
        WeightsError: a weights file is missing or is not the one that the recipe knows.
    """
    if request.source in recipe_names():
        recipe = load_recipe(request.source)
        model = recipe.variant(request.variant)
        return Resolved(model, _recipe_weights(model, request), recipe)
    if Path(request.source).suffix in TORCHSCRIPT_SUFFIXES:
        return _torchscript(Path(request.source), request)
    if ":" in request.source:
        return _attribute(request)
    raise UsageError(
        f"{request.source!r} is no recipe ({', '.join(recipe_names())}), no module:attribute, "
        f"and no TorchScript file ({', '.join(TORCHSCRIPT_SUFFIXES)})"
    )


def _recipe_weights(model: ModelSource, request: Request) -> dict[str, Path | None]:
    if request.random_weights:
        return {graph.graph: None for graph in model.graphs}
    given = _named_weights(request.weights, [graph.graph for graph in model.graphs])
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
            "To convert the bare network, for measuring its speed, say --random-weights"
        )
    return fetch(known.source, member_sha256=known.sha256, report=request.report)


def require_sha256(path: Path, sha256: str) -> None:
    """Compare a weights file with the hash that is known of it.

    Raises:
        WeightsError: it is missing or another file.
    """
    if not path.is_file():
        raise WeightsError(f"{path}: there is no such weights file")
    actual = sha256_of(path)
    if actual != sha256:
        raise WeightsError(
            f"{path}: expected the weights with SHA-256 {sha256}, this file has {actual}; "
            "it is another version or damaged, fetch it again"
        )


def _named_weights(weights: Mapping[str, Path], graphs: list[str]) -> dict[str, Path]:
    """Weights by graph; a single file without a name belongs to the only graph."""
    unknown = sorted(set(weights) - set(graphs) - {""})
    if unknown or ("" in weights and len(graphs) > 1):
        named = ", ".join(f"--weights {graph}=FILE" for graph in graphs)
        raise UsageError(f"name each weights file: {named}; got {', '.join(unknown) or 'a file without a name'}")
    return {name or graphs[0]: path for name, path in weights.items()}


def _torchscript(path: Path, request: Request) -> Resolved:
    from brain_edge_conversion.checkpoint import load_torchscript

    if not path.is_file():
        raise WeightsError(f"{path}: there is no such file")
    sha256 = sha256_of(path)
    _require_trust(request, f"{path} (SHA-256 {sha256}), a TorchScript file")
    model = _user_model(request, lambda _weights: load_torchscript(path, sha256).eval())
    return Resolved(model, {model.graphs[0].graph: path}, None)


def _attribute(request: Request) -> Resolved:
    from brain_edge_conversion.checkpoint import fit_state_dict, load_state_dict

    file = _module_file(request.source)
    _require_trust(request, f"{request.source} in {file} (SHA-256 {sha256_of(file)}), a Python module")
    factory = _import(request.source)

    def build(weights: Path | None) -> nn.Module:
        network = _network_from(factory, request.source)
        if weights is not None:
            fit_state_dict(network, load_state_dict(weights), str(weights))
        return network.eval()

    model = _user_model(request, build)
    if not request.weights and not request.random_weights:
        raise UsageError(f"{request.source}: give its weights with --weights FILE, or say --random-weights")
    graph = model.graphs[0].graph
    return Resolved(model, {graph: _named_weights(request.weights, [graph]).get(graph)}, None)


def _user_model(request: Request, build: Callable[[Path | None], nn.Module]) -> ModelSource:
    if request.spec_file is None:
        raise UsageError(f"{request.source} is no recipe: describe its steps with --spec FILE (see docs/how-to)")
    if not request.spec_file.is_file():
        raise InputError(f"{request.spec_file}: there is no such specification file")
    spec = spec_from_json(request.spec_file.read_bytes(), str(request.spec_file))
    if len(spec.graphs) != 1:
        raise UsageError(
            f"{request.spec_file}: one network is given, the specification names {len(spec.graphs)}: "
            f"{', '.join(spec.graphs)}; a cascade or an ensemble needs a recipe"
        )
    side = (EXAMPLE_SIDE, EXAMPLE_SIDE, EXAMPLE_SIDE)
    return ModelSource(spec, (GraphSource(spec.graphs[0], build, None, side),), USER_CARD, USER_LICENCE)


def _network_from(factory: Any, source: str) -> nn.Module:
    """What the user's class or function builds; its random weights are the same each time."""
    from torch import nn

    if isinstance(factory, nn.Module) or not callable(factory):
        raise UsageError(
            f"{source}: expected a class or function that builds the network when it is called without arguments, "
            f"got an object of {type(factory).__name__}"
        )
    try:
        network = same_each_time(factory)
    except Exception as error:  # the user's code may fail in any way
        raise UsageError(f"{source}: building the network failed ({type(error).__name__}: {error})") from error
    if not isinstance(network, nn.Module):
        raise UsageError(f"{source}: expected it to build a torch.nn.Module, it gave a {type(network).__name__}")
    return network


def _module_file(source: str) -> Path:
    """The file of `module:attribute`, found without running anything: not even a package that the module is in.

    Raises:
        UsageError: there is no such module, or it is not written in Python.
    """
    name = source.partition(":")[0]
    places: list[str] | None = [str(Path.cwd()), *sys.path]
    found = None
    for part in filter(None, name.split(".")):
        found = importlib.machinery.PathFinder.find_spec(part, places)
        if found is None:
            break
        places = list(found.submodule_search_locations or ())
    file = Path(found.origin) if found is not None and found.origin is not None else None
    if file is None or file.suffix != ".py":
        raise UsageError(f"{source}: expected a module and an attribute that builds the network; no module {name!r}")
    return file


def _import(source: str) -> Any:
    module_name, _, attribute = source.partition(":")
    # the user's module usually lies where the command is called, as with `python -m`
    sys.path.insert(0, str(Path.cwd()))
    try:
        return getattr(importlib.import_module(module_name), attribute)
    except Exception as error:  # the user's code may fail in any way
        raise UsageError(
            f"{source}: expected a module and an attribute that builds the network ({type(error).__name__}: {error})"
        ) from error
    finally:
        sys.path.pop(0)


def _require_trust(request: Request, what: str) -> None:
    if not request.trust:
        raise UsageError(f"{what} is code that would run here; say --trust if you know where it comes from")
