"""Reader for ONNX files, as data: into OpenVINO, and into onnxruntime, with which the conversion is compared."""

from __future__ import annotations

import hashlib
import os
import re
from typing import TYPE_CHECKING, Any, Final

import torch
from torch import nn

from brain_edge.errors import BrainEdgeError, WeightsError
from brain_edge.machine.paths import require_regular
from brain_edge.runtime.library import read_model
from brain_edge_conversion.weights.converter_reason import converter_reason
from brain_edge_conversion.weights.onnx_norms import with_norms_in_double

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

_UNKNOWN_OPERATIONS: Final = re.compile(r"No conversion rule found for operations: (.+)")
_LISTED: Final = 3
_MOST_VERSION: Final = 1000


def sha256_of_onnx(path: Path) -> str:
    """Return one hash for an ONNX file and the weights beside it; that of the file alone if it holds its weights.

    Raises:
        WeightsError: see `load_onnx`.
    """
    content = _bytes(path)
    return _hash(content, _outside_files(_parsed(content, path), path))


def load_onnx(path: Path, sha256: str) -> bytes:
    """Read an ONNX model as the bytes of one file, with its weights inside and half precision widened to float32.

    Weights may lie in files beside the model (the default of `torch.onnx.export`): the hash covers them, too. Every
    other place is refused, because paths come from an untrusted file.

    Raises:
        WeightsError: the hash is different, or a file is missing, truncated, no ONNX model, has its weights elsewhere,
            or an input of open rank or in half precision.
    """
    content = _bytes(path)
    model = _parsed(content, path)
    files = _outside_files(model, path)
    actual = _hash(content, files)
    if actual != sha256:
        raise WeightsError(
            f"{path}: expected the SHA-256 {sha256}, got {actual}; fetch the file "
            "again (it is damaged or another version)"
        )
    _require_version(model, path)
    _require_rank(model, path)
    _require_float_input(model, path)
    for tensor in _outside(model):
        _join(tensor, files, path)
    is_half = widen_half(model)
    whole = bytes(model.SerializeToString()) if files or is_half else content
    _require_valid(model, path)
    return whole


def _bytes(path: Path) -> bytes:
    try:
        return require_regular(path).read_bytes()
    except OSError as error:
        raise WeightsError(
            f"{path}: the model cannot be read ({error.strerror}); check its path and permissions"
        ) from error


def _parsed(content: bytes, path: Path) -> Any:
    import onnx

    try:
        model = onnx.load_model_from_string(content)
    except Exception as error:  # protobuf's DecodeError, which is not onnx's to promise
        raise WeightsError(
            f"{path}: expected an ONNX model, got a damaged, truncated or other file; export it again"
        ) from error
    if not model.graph.node:
        raise WeightsError(f"{path}: expected an ONNX model, got a file without nodes; export it again")
    return model


def _hash(content: bytes, files: Mapping[str, bytes]) -> str:
    if not files:
        return hashlib.sha256(content).hexdigest()
    parts = [hashlib.sha256(part).digest() for part in (content, *(files[name] for name in sorted(files)))]
    return hashlib.sha256(b"".join(parts)).hexdigest()


def _outside(model: Any) -> list[Any]:
    from onnx import TensorProto

    return [tensor for tensor in _tensors(model) if tensor.data_location == TensorProto.EXTERNAL]


def _outside_files(model: Any, path: Path) -> dict[str, bytes]:
    """Return the bytes of each file beside the model that holds weights, by name."""
    files: dict[str, bytes] = {}
    for tensor in _outside(model):
        name = _entries(tensor).get("location", "")
        if name not in files:
            beside = path.parent / name
            if not name or "\\" in name or name in (".", "..") or beside.name != name or not beside.is_file():
                raise WeightsError(
                    f"{path}: expected the weights in the file or in a file beside it, got {tensor.name or 'a tensor'} "
                    f"in {name[:60]!r}, which is not there; copy both files into one folder, or export with "
                    "external_data=False"
                )
            files[name] = _bytes(beside)
    return files


def _entries(tensor: Any) -> dict[str, str]:
    return {entry.key: entry.value for entry in tensor.external_data}


def _join(tensor: Any, files: Mapping[str, bytes], path: Path) -> None:
    """Put the bytes of a tensor that lie in another file into the tensor, in place."""
    from onnx import TensorProto

    entries = _entries(tensor)
    content = files[entries["location"]]
    try:
        start = int(entries.get("offset") or 0)
        end = start + int(entries.get("length") or len(content) - start)
    except ValueError as error:
        raise WeightsError(f"{path}: the place of {tensor.name} in {entries['location']} is damaged") from error
    if not 0 <= start <= end <= len(content):
        raise WeightsError(f"{path}: {entries['location']} is truncated or of another model; copy both files again")
    tensor.raw_data = content[start:end]
    tensor.data_location = TensorProto.DEFAULT
    tensor.ClearField("external_data")


def widen_half(message: Any) -> bool:
    """Widen every half-precision tensor, type and cast in a message to float32, in place; False if there is none.

    Each float16 is a float32, so that no weight changes. The graph then computes in float32.
    """
    from onnx import AttributeProto, TensorProto, TypeProto, numpy_helper

    if isinstance(message, TensorProto):
        if message.data_type != TensorProto.FLOAT16:
            return False
        wide = numpy_helper.to_array(message).astype("float32")
        message.CopyFrom(numpy_helper.from_array(wide, message.name))
        return True
    found = False
    if isinstance(message, TypeProto.Tensor) and message.elem_type == TensorProto.FLOAT16:
        message.elem_type, found = TensorProto.FLOAT, True
    if isinstance(message, AttributeProto) and message.name in ("to", "dtype") and message.i == TensorProto.FLOAT16:
        message.i, found = TensorProto.FLOAT, True
    for field, value in message.ListFields():
        if field.message_type is not None:
            for each in [value] if hasattr(value, "ListFields") else value:
                found = widen_half(each) or found
    return found


def _require_float_input(model: Any, path: Path) -> None:
    from onnx import TensorProto

    weights = {tensor.name for tensor in model.graph.initializer}
    for each in model.graph.input:
        if each.name not in weights and each.type.tensor_type.elem_type == TensorProto.FLOAT16:
            raise WeightsError(
                f"{path}: expected an input in float32, got {each.name} in half precision (float16); export with "
                "float32 inputs and outputs (keep_io_types=True), or the float32 network"
            )


def _require_version(model: Any, path: Path) -> None:
    """OpenVINO counts down from the version that a file states."""
    for each in model.opset_import:
        if not 1 <= each.version <= _MOST_VERSION:
            raise WeightsError(
                f"{path}: expected a version of its operators from 1 to {_MOST_VERSION}, got {each.version}; the file "
                "is damaged, export it again"
            )


def _require_valid(model: Any, path: Path) -> None:
    """Refuse what ONNX itself refuses, such as nodes without their inputs, of which OpenVINO dies.

    An output may have no shape, although ONNX asks for one: exporters leave it out. The model is changed.
    """
    import onnx

    for each in model.graph.output:
        if each.type.HasField("tensor_type"):
            each.type.tensor_type.shape.SetInParent()
    try:
        onnx.checker.check_model(model)
    except Exception as error:  # also of texts that are none
        reason = (str(error).strip().splitlines() or ["no further detail"])[0][:200]
        raise WeightsError(f"{path}: ONNX refuses this model ({reason}); it is damaged, export it again") from error


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
            raise WeightsError(f"{source}: OpenVINO cannot read this ONNX model: {converter_reason(error)}") from error
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

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of the input, -1 for open sides."""
        return tuple(side if isinstance(side, int) else -1 for side in self._session.get_inputs()[0].shape)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the first output, float32, in the shape that the model gives."""
        try:
            return torch.from_numpy(self._session.run(None, {self._input: x.numpy()})[0])
        except Exception as error:  # onnxruntime's exceptions share no base class
            raise BrainEdgeError(" ".join(str(error).split())[:300] or "no further detail") from error
