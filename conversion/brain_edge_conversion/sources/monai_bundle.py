"""Source: a MONAI bundle. Its configuration is read as data; nothing in it is evaluated or imported.

The network is one of MONAI's classes with the arguments of `network_def` and the weights of `models/model.pt`. A bundle
that has only `models/model.ts` holds a program, which runs if the user trusts it.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

from brain_edge.errors import UsageError, WeightsError
from brain_edge.package.digest import sha256_of
from brain_edge.package.manifest import Card
from brain_edge_conversion.recipe import GraphSource, ModelSource
from brain_edge_conversion.sources.own import (
    NOT_STATED,
    ONE_NETWORK,
    OWN_LICENCE,
    WHOLE_FOLDER,
    example_shape,
    has_fixed_sides,
)
from brain_edge_conversion.sources.request import Request, Resolved, SourceKind, require_trust

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import nn

    from brain_edge_conversion.folders.monai_config import Config
    from brain_edge_conversion.folders.monai_spec import Metadata

STATE_DICT: Final = Path("models", "model.pt")
PROGRAM: Final = Path("models", "model.ts")


def _claims(source: str) -> bool:
    configs = Path(source) / "configs"
    return configs.is_dir() and ((configs / "metadata.json").exists() or any(configs.glob("inference.*")))


def _resolve(request: Request) -> Resolved:
    from brain_edge_conversion.folders.monai_config import read_inference
    from brain_edge_conversion.folders.monai_spec import GRAPH, bundle_spec, read_metadata

    folder = Path(request.source)
    config, metadata = read_inference(folder), read_metadata(folder)
    spec = bundle_spec(folder, config, metadata)
    build, weights = _network(folder, config, request)
    # its shifted windows make constants of the sides, which a window of the steps fixes
    is_fixed = has_fixed_sides(spec) and _class_name(config) == "SwinUNETR"
    graph = GraphSource(GRAPH, build, None, example_shape(spec), activates_twice=True, has_fixed_sides=is_fixed)
    request.report(f"MONAI bundle {metadata.name} {metadata.version}, made with MONAI {metadata.monai_version}")
    return Resolved(ModelSource(spec, (graph,), _card(metadata), OWN_LICENCE), {GRAPH: weights})


def _network(folder: Path, config: Config, request: Request) -> tuple[Callable[[Path | None], nn.Module], Path]:
    """Return the function that builds the network, and the file of its weights."""
    from brain_edge_conversion.folders.monai_network import build_network, network_arguments
    from brain_edge_conversion.weights.checkpoint import load_torchscript

    weights, program = folder / STATE_DICT, folder / PROGRAM
    if weights.is_file():
        network = config.component(config.value("network_def"), "network_def")
        if network is None:
            raise WeightsError(f"{config.path}: expected a network at network_def, got one with _disabled_; enable it")
        if request.trust:
            raise UsageError(f"--trust has no effect: {weights} is read as data and runs nothing; remove the option")
        arguments = network_arguments(network)
        return lambda _given: build_network(network.name, arguments, config.path, weights, request.report), weights
    if not program.is_file():
        raise WeightsError(f"{weights}: there is no such file, and no {PROGRAM.name} beside it; copy the whole bundle")
    sha256 = sha256_of(program)
    require_trust(request, f"{program} (SHA-256 {sha256}), a TorchScript file")
    return lambda _given: load_torchscript(program, sha256).eval(), program


def _class_name(config: Config) -> str:
    network = config.component(config.value("network_def"), "network_def") if "network_def" in config.content else None
    return "" if network is None else network.name


def _card(metadata: Metadata) -> Card:
    return Card(
        summary=metadata.description or "A MONAI bundle of the user's own.",
        citation="; ".join(filter(None, (metadata.authors, *metadata.references))) or NOT_STATED,
        published_figures=NOT_STATED,
        limits=metadata.intended_use or NOT_STATED,
    )


KIND: Final = SourceKind("MONAI bundle", _claims, _resolve, WHOLE_FOLDER | ONE_NETWORK)
