"""Source: an ONNX file (data, no code), compared with onnxruntime, because its PyTorch network is not available."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from brain_edge.errors import WeightsError
from brain_edge_conversion.sources.own import HOLDS_WEIGHTS, NO_RECIPE, own_model, own_spec
from brain_edge_conversion.sources.request import BareNetwork, Request, Resolved, SourceKind


def _resolve(request: Request) -> Resolved:
    from brain_edge_conversion.weights.onnx_graph import OnnxNetwork, load_onnx, read_onnx, sha256_of_onnx

    path = Path(request.source)
    if not path.is_file():
        raise WeightsError(f"{path}: there is no such file; check the path")
    spec, sha256 = own_spec(request), sha256_of_onnx(path)

    def read(_weights: Path | None) -> Any:
        return read_onnx(load_onnx(path, sha256), str(path))

    def build(_weights: Path | None) -> OnnxNetwork:
        read(None)  # OpenVINO's missing operators are reported before onnxruntime's: the former have no workaround
        return OnnxNetwork(load_onnx(path, sha256), str(path))

    model = own_model(spec, build, read)
    model = replace(model, graphs=(replace(model.graphs[0], sha256=sha256),))
    return Resolved(model, {model.graphs[0].graph: path})


def _network(request: Request) -> BareNetwork:
    from brain_edge_conversion.weights.onnx_graph import OnnxNetwork, load_onnx, sha256_of_onnx

    path = Path(request.source)
    if not path.is_file():
        raise WeightsError(f"{path}: there is no such file; check the path")
    network = OnnxNetwork(load_onnx(path, sha256_of_onnx(path)), str(path))
    return BareNetwork(network, network.input_shape)


KIND: Final = SourceKind(
    name="ONNX file (.onnx)",
    claims=lambda source: Path(source).suffix.lower() == ".onnx",
    resolve=_resolve,
    idle=NO_RECIPE | HOLDS_WEIGHTS | {"--trust": "is data and runs nothing"},
    network=_network,
)
