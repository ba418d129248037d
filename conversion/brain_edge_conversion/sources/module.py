"""Source: `module:attribute`, a class or function of the user that builds the network, with a separate state dict."""

from __future__ import annotations

import importlib
import importlib.machinery
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from brain_edge.errors import UsageError
from brain_edge.package.digest import sha256_of
from brain_edge_conversion.recipe import same_each_time
from brain_edge_conversion.sources.own import NO_RECIPE, own_model, own_spec
from brain_edge_conversion.sources.request import BareNetwork, Request, Resolved, SourceKind, require_trust
from brain_edge_conversion.sources.weights import named_weights

if TYPE_CHECKING:
    from torch import nn


def _resolve(request: Request) -> Resolved:
    factory, key = _trusted(request), ""

    def build(weights: Path | None) -> nn.Module:
        return _built(factory, request, weights, key)

    model = own_model(own_spec(request), build)
    if not request.weights and not request.random_weights:
        raise UsageError(f"{request.source}: expected weights, got none; give --weights FILE or --random-weights")
    graph = model.graphs[0].graph
    given = named_weights(request.weights, [graph]).get(graph)
    path, key = (given, "") if given is None else _without_key(given)
    return Resolved(model, {graph: path})


def _network(request: Request) -> BareNetwork:
    """Return the network, with random weights unless a file was given."""
    given = next(iter(request.weights.values()), None)
    path, key = (None, "") if given is None else _without_key(given)
    return BareNetwork(_built(_trusted(request), request, path, key))


def _trusted(request: Request) -> Any:
    """Import the class or function that builds the network, if the user trusts it."""
    file = _module_file(request.source)
    require_trust(request, f"{request.source} in {file} (SHA-256 {sha256_of(file)}), a Python module")
    return _import(request.source)


def _built(factory: Any, request: Request, weights: Path | None, key: str) -> nn.Module:
    """Build the network, with the set of weights that a key names in a file; random weights without a file."""
    from brain_edge_conversion.weights.checkpoint import fit_state_dict, load_content
    from brain_edge_conversion.weights.choice import chosen_set

    network = _network_from(factory, request.source)
    if weights is not None:
        found = chosen_set(network, load_content(weights), str(weights), key)
        fit_state_dict(network, found.tensors, str(weights))
        if found.in_words:
            request.report(found.in_words)
    return network.eval()


def _without_key(given: Path) -> tuple[Path, str]:
    """Split `FILE#KEY` into the file and the key of the weights in it; an existing file with "#" stays whole."""
    name, _, key = given.name.rpartition("#")
    return (given, "") if given.exists() or not name else (given.with_name(name), key)


def _network_from(factory: Any, source: str) -> nn.Module:
    """Build the network with the user's class or function; random weights are the same each time."""
    from torch import nn

    if isinstance(factory, nn.Module) or not callable(factory):
        raise UsageError(
            f"{source}: expected a class or function that builds the network when it is called without arguments, "
            f"got an object of {type(factory).__name__}"
        )
    try:
        network = same_each_time(factory)
    except Exception as error:  # the user's code may raise anything
        raise UsageError(f"{source}: building the network failed ({type(error).__name__}: {error})") from error
    if not isinstance(network, nn.Module):
        raise UsageError(f"{source}: expected a torch.nn.Module from the call, got a {type(network).__name__}")
    # the network itself in place of what torch.compile has made of it
    compiled: nn.Module = getattr(network, "_orig_mod", network)
    return compiled


def _module_file(source: str) -> Path:
    """Find the file of `module:attribute` without running anything, not even a package that contains the module.

    Raises:
        UsageError: there is no such module, or the module is not written in Python.
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
    # the user's module usually lies in the current folder, as with `python -m`
    sys.path.insert(0, str(Path.cwd()))
    try:
        return getattr(importlib.import_module(module_name), attribute)
    except Exception as error:  # the user's code may raise anything
        raise UsageError(
            f"{source}: expected a module and an attribute that builds the network ({type(error).__name__}: {error})"
        ) from error
    finally:
        sys.path.pop(0)


KIND: Final = SourceKind(
    name="module:attribute",
    claims=lambda source: ":" in source,
    resolve=_resolve,
    idle=NO_RECIPE,
    network=_network,
)
