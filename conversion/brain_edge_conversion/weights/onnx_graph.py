"""ONNX files: read as data, into OpenVINO, and into onnxruntime, which is what their conversion is compared with."""

from __future__ import annotations

import hashlib
import os
import re
from typing import TYPE_CHECKING, Any, Final

import torch
from torch import nn

from brain_edge.errors import BrainEdgeError, WeightsError
from brain_edge.runtime.library import read_model

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_UNKNOWN_OPERATIONS: Final = re.compile(r"No conversion rule found for operations: (.+)")
_LISTED: Final = 3


def load_onnx(path: Path, sha256: str) -> bytes:
    """The bytes of a whole ONNX model with its weights in it.

    Weights beside the file are not taken: the hash that goes on record would not cover them, and where they lie is
    said by the file, which is a stranger's.

    Raises:
        WeightsError: another hash, or the file is missing, truncated, no ONNX model, has its weights elsewhere or an
            input of any number of axes.
    """
    import onnx

    try:
        content = path.read_bytes()
    except OSError as error:
        raise WeightsError(f"{path}: the model cannot be read ({error.strerror})") from error
    actual = hashlib.sha256(content).hexdigest()
    if actual != sha256:
        raise WeightsError(f"{path}: expected the SHA-256 {sha256}, got {actual}; it is another or a damaged file")
    try:
        model = onnx.load_model_from_string(content)
    except Exception as error:  # protobuf's DecodeError, which is not onnx's to promise
        raise WeightsError(f"{path}: expected an ONNX model, this file is truncated, damaged or none") from error
    if not model.graph.node:
        raise WeightsError(f"{path}: expected an ONNX model, this file is truncated, damaged or none (no nodes)")
    _require_whole(model, path)
    _require_rank(model, path)
    return content


def _require_whole(model: Any, path: Path) -> None:
    from onnx import TensorProto

    outside = [tensor for tensor in _tensors(model) if tensor.data_location == TensorProto.EXTERNAL]
    if outside:
        raise WeightsError(
            f"{path}: expected an ONNX model with its weights in the file, {len(outside)} tensors (first: "
            f"{outside[0].name or 'without a name'}) are in another one; join them in Python, "
            f"onnx.save(onnx.load('{path.name}'), 'whole.onnx'), or export with external_data=False"
        )


def _tensors(message: Any) -> Iterator[Any]:
    """Every tensor below a message: initializers, dense or sparse, and those in attributes, branches and functions."""
    from onnx import TensorProto

    if isinstance(message, TensorProto):
        yield message
        return
    for field, value in message.ListFields():
        if field.message_type is not None:
            for each in [value] if hasattr(value, "ListFields") else value:
                yield from _tensors(each)


def _require_rank(model: Any, path: Path) -> None:
    weights = {tensor.name for tensor in model.graph.initializer}
    for each in model.graph.input:
        if each.name not in weights and not each.type.tensor_type.HasField("shape"):
            raise WeightsError(
                f"{path}: the rank of the input is left open (dynamic rank), expected five axes of {each.name}; "
                "export the network with an example input"
            )


def read_onnx(content: bytes, source: str) -> Any:
    """The OpenVINO model of an ONNX model.

    Raises:
        WeightsError: OpenVINO has no equivalent of an operator (its name and the names of its nodes are said), or
            cannot read the model.
    """
    try:
        return read_model(content)
    except RuntimeError as error:
        unknown = _UNKNOWN_OPERATIONS.search(str(error))
        if unknown is None:
            reason = (str(error).strip().splitlines() or ["no further detail"])[-1][:300]
            raise WeightsError(f"{source}: OpenVINO cannot read this ONNX model: {reason}") from error
        nodes = "; ".join(_where(content, name.strip()) for name in unknown[1].split(","))
        raise WeightsError(
            f"{source}: OpenVINO has no equivalent of {nodes}; rewrite the network without it, or convert it from "
            "its PyTorch module"
        ) from error


def _where(content: bytes, operation: str) -> str:
    """An operator, as OpenVINO's message names it (`Det-17`, `com.acme.Norm`), with the nodes that use it."""
    import onnx

    kind = re.sub(r"-\d+$", "", operation).rpartition(".")[2]
    graph = onnx.load_model_from_string(content).graph
    names = [
        node.name or f"unnamed, gives {node.output[0]}" for node in graph.node if node.op_type == kind and node.output
    ]
    more = ", ..." if len(names) > _LISTED else ""
    return f"the operator {operation} (node {', '.join(names[:_LISTED])}{more})"


def import_onnxruntime() -> Any:
    """The module onnxruntime, and never its telemetry, which calls out from its import on unless this is set before.

    Raises:
        ModuleNotFoundError: it is not installed.
    """
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    import onnxruntime

    return onnxruntime


class OnnxNetwork(nn.Module):
    """An ONNX model run by onnxruntime, as a module: what PyTorch is for the other sources.

    Args:
        content: the model.
        source: what messages call it.

    Raises:
        WeightsError: onnxruntime does not load the model.
        ModuleNotFoundError: onnxruntime is not installed.
    """

    def __init__(self, content: bytes, source: str) -> None:
        super().__init__()
        onnxruntime = import_onnxruntime()
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        options.log_severity_level = 4  # what it does not take is said once, in our words
        try:
            # without its fallback, which prints on stdout
            self._session = onnxruntime.InferenceSession(
                content, options, providers=["CPUExecutionProvider"], enable_fallback=0
            )
        except Exception as error:  # onnxruntime's exceptions share no base class
            reason = (str(error).strip().splitlines() or ["no further detail"])[-1][:300]
            raise WeightsError(
                f"{source}: onnxruntime, which the conversion is compared with, does not load this model: {reason}"
            ) from error
        self._input = self._session.get_inputs()[0].name

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The first output; float32, in the shape that the model gives."""
        try:
            return torch.from_numpy(self._session.run(None, {self._input: x.numpy()})[0])
        except Exception as error:  # onnxruntime's exceptions share no base class
            raise BrainEdgeError(" ".join(str(error).split())[:300] or "no further detail") from error
