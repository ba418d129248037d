"""Sources of `convert`, resolved: a recipe by name, `module:attribute`, or a file or folder with a network.

Third-party code runs only if the user trusts it explicitly. To add a kind of source, write one module that defines
`KIND`, and add it to `KINDS`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final
from zipfile import is_zipfile

import msgspec

from brain_edge.errors import InputError, UsageError
from brain_edge.machine.json import decode_json
from brain_edge.machine.nearest import did_you_mean
from brain_edge.spec import ModelSpec, canonical_json
from brain_edge_conversion.recipes import recipe_names
from brain_edge_conversion.sources import (
    by_recipe,
    gandlf_folder,
    module,
    monai_bundle,
    nnunet_folder,
    onnx_file,
    torch_file,
)
from brain_edge_conversion.sources.request import BareNetwork, Request, Resolved, SourceKind, require_trust
from brain_edge_conversion.sources.weights import require_sha256

__all__ = [
    "KINDS",
    "BareNetwork",
    "Request",
    "Resolved",
    "SourceKind",
    "bare_network",
    "kind_of",
    "require_no_idle",
    "require_sha256",
    "require_trust",
    "resolve",
]

KINDS: Final = (
    by_recipe.KIND,
    nnunet_folder.KIND,
    monai_bundle.KIND,
    gandlf_folder.KIND,
    onnx_file.KIND,
    torch_file.KIND,
    module.KIND,
)
"""All kinds of source, in the order in which they are asked; the first that claims a source resolves it."""


def kind_of(source: str) -> SourceKind:
    """Return the kind that claims a source.

    Raises:
        UsageError: no kind claims the source; the message lists the kinds.
    """
    for kind in KINDS:
        if kind.claims(source):
            return kind
    if Path(source).exists():
        known = ", ".join(kind.name for kind in KINDS if kind not in (by_recipe.KIND, module.KIND))
        what, then = ("a zip file", "; unpack it and name its folder") if is_zipfile(source) else ("something else", "")
        if below := _folders_below(Path(source)):
            what, then = "the folder above", f"; name the folder itself: {', '.join(below)}"
        raise UsageError(f"{source}: expected one of these: {known}; got {what}{then}")
    hint = did_you_mean(source, recipe_names())
    raise UsageError(f"{source!r} is no {', no '.join(kind.name for kind in KINDS)}{hint}")


def _folders_below(folder: Path) -> list[str]:
    """Return the folders in a folder that a kind of source claims, the first five by name."""
    folders = sorted(path for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else []
    kinds = [kind for kind in KINDS if kind not in (by_recipe.KIND, module.KIND)]
    return [str(path) for path in folders if any(kind.claims(str(path)) for kind in kinds)][:5]


def require_no_idle(request: Request) -> None:
    """Refuse an option that has no effect for its source.

    Raises:
        UsageError: there is such an option, or no kind claims the source.
    """
    given = request.given
    for option, reason in kind_of(request.source).idle.items():
        if given[option]:
            raise UsageError(f"{option} has no effect: {request.source} {reason}; remove the option")
    if request.random_weights and request.weights:
        raise UsageError("--weights has no effect with --random-weights; remove one of them")


def bare_network(request: Request) -> BareNetwork:
    """Return the network of a source that states no steps, to be looked at before there is a specification.

    Raises:
        UsageError: the source states its steps itself, or is code that is not trusted.
        WeightsError: a file is missing or refused.
    """
    kind = kind_of(request.source)
    if kind.network is None:
        raise UsageError(
            f"{request.source} states its steps itself and needs no specification; convert it with "
            f"brain-edge convert {request.source}"
        )
    return kind.network(request)


def resolve(request: Request) -> Resolved:
    """Resolve a request to a model, with every weights file on disk.

    Raises:
        UsageError: there is no such recipe, a specification is missing, or code was not trusted.
        WeightsError: a weights file is missing, or differs from the recipe's.
        InputError: a configuration makes steps that no package can have.
    """
    resolved = kind_of(request.source).resolve(request)
    try:
        decode_json(canonical_json(resolved.model.spec), ModelSpec)
    except msgspec.DecodeError as error:
        raise InputError(
            f"{request.source}: expected steps within the limits of a package, got others ({error}); convert the "
            "network with --spec"
        ) from error
    return resolved
