"""Source: a PyTorch file with a program, TorchScript or `torch.export`; the content decides which."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from brain_edge.errors import WeightsError
from brain_edge.package.digest import sha256_of
from brain_edge_conversion.sources.own import HOLDS_WEIGHTS, NO_RECIPE, own_model, own_spec
from brain_edge_conversion.sources.request import BareNetwork, Request, Resolved, SourceKind, require_trust

if TYPE_CHECKING:
    from brain_edge_conversion.recipe import ModelSource

SUFFIXES: Final = (".pt", ".pth", ".ts", ".pt2")
WEIGHTS_SUFFIXES: Final = (".ckpt", ".safetensors", ".bin", ".model", ".pth.tar", ".pt.tar")
"""Suffixes of files with weights and no network; claimed so that the refusal can explain this."""


def _resolve(request: Request) -> Resolved:
    path = Path(request.source)
    sha256, is_exported = _trusted(request, path)
    model = _exported(path, sha256, request) if is_exported else _torchscript(path, sha256, request)
    return Resolved(model, {model.graphs[0].graph: path})


def _network(request: Request) -> BareNetwork:
    from brain_edge_conversion.weights.checkpoint import load_torchscript
    from brain_edge_conversion.weights.exported_program import input_shape, load_exported

    path = Path(request.source)
    sha256, is_exported = _trusted(request, path)
    if not is_exported:
        return BareNetwork(load_torchscript(path, sha256).eval())
    program = load_exported(path, sha256)
    return BareNetwork(program.module(), input_shape(program, str(path)))


def _trusted(request: Request, path: Path) -> tuple[str, bool]:
    """Return the hash of a program that the user trusts, and True if it comes from torch.export.

    Raises:
        WeightsError: there is no such file, or it holds no program.
        UsageError: the program is not trusted.
    """
    from brain_edge_conversion.weights.checkpoint import WeightsFormat, weights_format

    if not path.is_file():
        raise WeightsError(f"{path}: there is no such file; check the path")
    kind, sha256 = weights_format(path), sha256_of(path)
    names = {WeightsFormat.TORCHSCRIPT: "a TorchScript file", WeightsFormat.EXPORTED: "a torch.export program"}
    if kind not in names:
        raise _only_weights(path, kind)
    require_trust(request, f"{path} (SHA-256 {sha256}), {names[kind]}")
    return sha256, kind is WeightsFormat.EXPORTED


def _torchscript(path: Path, sha256: str, request: Request) -> ModelSource:
    from brain_edge_conversion.weights.checkpoint import load_torchscript

    return own_model(own_spec(request), lambda _weights: load_torchscript(path, sha256).eval())


def _exported(path: Path, sha256: str, request: Request) -> ModelSource:
    from brain_edge_conversion.weights.exported_program import load_exported, read_exported

    def read(_weights: Path | None) -> Any:
        return read_exported(load_exported(path, sha256), str(path))

    return own_model(own_spec(request), lambda _weights: load_exported(path, sha256).module(), read)


def _only_weights(path: Path, kind: str) -> WeightsError:
    """Return the refusal of a state dict; a pickled module is refused first, because loading it would run code."""
    from brain_edge_conversion.weights.checkpoint import load_content

    load_content(path)  # refuses a pickled module, a truncated file and any other file, each with its own message
    return WeightsError(
        f"{path}: expected a TorchScript archive or a torch.export program, got a state dict ({kind}), which has no "
        f"network. Name the code that builds the network: brain-edge convert module:attribute --weights {path}"
    )


KIND: Final = SourceKind(
    name=f"TorchScript or torch.export file ({', '.join(SUFFIXES)})",
    claims=lambda source: Path(source).name.lower().endswith(SUFFIXES + WEIGHTS_SUFFIXES),
    resolve=_resolve,
    idle=NO_RECIPE | HOLDS_WEIGHTS,
    network=_network,
)
