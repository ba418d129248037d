"""Networks alone, ready to be called: OpenVINO's from a package, PyTorch's as published."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from brain_edge.runtime.protocol import Session


def openvino_session(package: Path, graph: str, threads: int, precision: str, cache: Path | None) -> Session:
    """A graph of a package, compiled when it is first called."""
    import msgspec

    from brain_edge.machine.options import RuntimeOptions
    from brain_edge.package import ModelPackage, Precision, open_package
    from brain_edge.runtime.session import open_sessions

    opened = open_package(package)
    manifest = msgspec.structs.replace(opened.manifest, precision=Precision(precision))
    return open_sessions(ModelPackage(package, manifest), RuntimeOptions(threads=threads, cache_folder=cache))[graph]


def pytorch_session(recipe: str, graph: str, threads: int) -> Session:
    """The published network of a recipe, eager."""
    import torch

    from brain_edge_conversion.convert.parity import TorchSession
    from brain_edge_conversion.sources import Request, resolve

    torch.set_num_threads(threads)
    resolved = resolve(Request(source=recipe))
    network = next(source for source in resolved.model.graphs if source.graph == graph)
    return TorchSession(network.build(resolved.weights[graph]))
