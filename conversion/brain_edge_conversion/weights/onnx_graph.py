"""Reader for ONNX files, as data: into OpenVINO, and into onnxruntime, with which the conversion is compared."""

from __future__ import annotations

import hashlib
import os
import re
from typing import TYPE_CHECKING, Any, Final

import torch
from torch import nn

from brain_edge.errors import BrainEdgeError, WeightsError
from brain_edge.runtime.library import read_model
from brain_edge_conversion.weights.onnx_norms import with_norms_in_double

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_UNKNOWN_OPERATIONS: Final = re.compile(r"No conversion rule found for operations: (.+)")
_LISTED: Final = 3
_MOST_VERSION: Final = 1000


def load_onnx(path: Path, sha256: str) -> bytes:
    """Read the bytes of a whole ONNX model with its weights inside.

    Weights in other files are refused: the recorded hash would not cover them, and their paths come from an untrusted
    file.

    Raises:
        WeightsError: the hash is different, or the file is missing, truncated, no ONNX model, has its weights elsewhere
            or an input of open rank.
    """
    import onnx

    try:
        content = path.read_bytes()
    except OSError as error:
        raise WeightsError(
            f"{path}: the model cannot be read ({error.strerror}); check its path and permissions"
        ) from error
    actual = hashlib.sha256(content).hexdigest()
    if actual != sha256:
        raise WeightsError(
            f"{path}: expected the SHA-256 {sha256}, got {actual}; fetch the file "
            "again (it is damaged or another version)"
        )
    try:
        model = onnx.load_model_from_string(content)
    except Exception as error:  # protobuf's DecodeError, which is not onnx's to promise
        raise WeightsError(
            f"{path}: expected an ONNX model, got a damaged, truncated or other file; export it again"
        ) from error
    if not model.graph.node:
        raise WeightsError(f"{path}: expected an ONNX model, got a file without nodes; export it again")
    _require_version(model, path)
    _require_whole(model, path)
    _require_rank(model, path)
    _require_valid(model, path)
    return content


def _require_version(model: Any, path: Path) -> None:
    """OpenVINO counts down from the version that a file states."""
    for each in model.opset_import:
        if not 1 <= each.version <= _MOST_VERSION:
            raise WeightsError(
                f"{path}: expected a version of its operators from 1 to {_MOST_VERSION}, got {each.version}; the file "
                "is damaged, export it again"
            )


def _require_valid(model: Any, path: Path) -> None:
    """OpenVINO dies of nodes without their inputs, which ONNX itself refuses."""
    import onnx

    try:
        onnx.checker.check_model(model)
    except Exception as error:  # also of texts that are none
        reason = (str(error).strip().splitlines() or ["no further detail"])[0][:200]
        raise WeightsError(f"{path}: ONNX refuses this model ({reason}); it is damaged, export it again") from error


def _require_whole(model: Any, path: Path) -> None:
    from onnx import TensorProto

    outside = [tensor for tensor in _tensors(model) if tensor.data_location == TensorProto.EXTERNAL]
    if outside:
        raise WeightsError(
            f"{path}: expected an ONNX model with its weights in the file, got {len(outside)} tensors (first: "
            f"{outside[0].name or 'without a name'}) in other files. Export with external_data=False, or join them in "
            f"Python: onnx.save(onnx.load('{path.name}'), 'whole.onnx')"
        )


def _tensors(message: Any) -> Iterator[Any]:
    """Yield every tensor in a message: initializers (dense or sparse), attributes, branches and functions."""
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
                f"{path}: the rank of the input is left open (dynamic rank), expected five axes for {each.name}; "
                "export the network with an example input"
            )


def read_onnx(content: bytes, source: str) -> Any:
    """Convert an ONNX model to an OpenVINO model.

    Raises:
        WeightsError: OpenVINO has no equivalent of an operator (the message names it and its nodes), or cannot read the
            model.
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
            f"{source}: OpenVINO has no equivalent of {nodes}; rewrite the network without this operator, or convert "
            "the PyTorch module"
        ) from error


def _where(content: bytes, operation: str) -> str:
    """Describe an operator, as OpenVINO names it (`Det-17`, `com.acme.Norm`), with the nodes that use it."""
    import onnx

    kind = re.sub(r"-\d+$", "", operation).rpartition(".")[2]
    graph = onnx.load_model_from_string(content).graph
    names = [
        node.name or f"unnamed, gives {node.output[0]}" for node in graph.node if node.op_type == kind and node.output
    ]
    more = ", ..." if len(names) > _LISTED else ""
    return f"the operator {operation} (node {', '.join(names[:_LISTED])}{more})"


def import_onnxruntime() -> Any:
    """Import onnxruntime with its telemetry disabled; the variable must be set before the import, which calls out.

    Raises:
        ModuleNotFoundError: onnxruntime is not installed.
    """
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    import onnxruntime

    return onnxruntime


class OnnxNetwork(nn.Module):
    """ONNX model run by onnxruntime, as a PyTorch module: the reference that PyTorch is for other sources.

    Args:
        content: bytes of the model.
        source: name of the model in messages.

    Raises:
        WeightsError: onnxruntime does not load the model.
        ModuleNotFoundError: onnxruntime is not installed.
    """

    def __init__(self, content: bytes, source: str) -> None:
        super().__init__()
        onnxruntime = import_onnxruntime()
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        options.log_severity_level = 4  # onnxruntime's refusal is reported once, by the error below
        try:
            # without its fallback, which prints on stdout
            self._session = onnxruntime.InferenceSession(
                with_norms_in_double(content), options, providers=["CPUExecutionProvider"], enable_fallback=0
            )
        except Exception as error:  # onnxruntime's exceptions share no base class
            reason = (str(error).strip().splitlines() or ["no further detail"])[-1][:300]
            raise WeightsError(
                f"{source}: onnxruntime, the reference for the comparison, does not load this model: {reason}"
            ) from error
        self._input = self._session.get_inputs()[0].name

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the first output, float32, in the shape that the model gives."""
        try:
            return torch.from_numpy(self._session.run(None, {self._input: x.numpy()})[0])
        except Exception as error:  # onnxruntime's exceptions share no base class
            raise BrainEdgeError(" ".join(str(error).split())[:300] or "no further detail") from error
