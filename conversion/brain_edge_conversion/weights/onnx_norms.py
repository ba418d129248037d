"""Instance norms of an ONNX model, computed in double precision by onnxruntime.

The exporter writes a group norm as an instance norm over all voxels of a group. onnxruntime sums these voxels in one
number of float32, which drifts with the size of the volume: a reference has to be more exact than what it judges.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

NORM: Final = "InstanceNormalization"
AXES_ARE_AN_INPUT: Final = 18
"""First opset whose `ReduceMean` takes its axes as an input."""


def with_norms_in_double(content: bytes) -> bytes:
    """Return an ONNX model whose float32 instance norms are computed in float64.

    Norms inside of branches and loops stay as they are.

    Args:
        content: bytes of the model, with its weights inside.
    """
    import onnx

    model = onnx.load_model_from_string(content)
    graph, opset = model.graph, _opset(model)
    types = dict(_types_of_constants(graph))
    nodes = [each for node in graph.node for each in _replacement(node, types, opset)]
    del graph.node[:]
    graph.node.extend(nodes)
    return bytes(model.SerializeToString())


def _opset(model: Any) -> int:
    return max((each.version for each in model.opset_import if each.domain in ("", "ai.onnx")), default=1)


def _types_of_constants(graph: Any) -> Iterator[tuple[str, int]]:
    """Yield the name and the element type of each tensor that the model holds."""
    for tensor in graph.initializer:
        yield tensor.name, tensor.data_type
    for node in graph.node:
        for attribute in node.attribute if node.op_type == "Constant" else ():
            if attribute.name == "value":
                yield node.output[0], attribute.t.data_type


def _replacement(node: Any, types: dict[str, int], opset: int) -> list[Any]:
    from onnx import TensorProto

    # a norm has the element type of its scale
    is_float32 = node.op_type == NORM and types.get(node.input[1]) == TensorProto.FLOAT
    return list(_in_double(node, opset)) if is_float32 else [node]


def _in_double(node: Any, opset: int) -> Iterator[Any]:
    """Yield the nodes of one norm: ((x - mean) / sqrt(variance + epsilon)) * scale + bias over all axes but two."""
    from onnx import TensorProto, helper, numpy_helper

    image, scale, bias = node.input
    epsilon = next((each.f for each in node.attribute if each.name == "epsilon"), 1e-5)
    prefix = f"{node.output[0]}/in_double"

    def constant(name: str, values: Any) -> Any:
        return helper.make_node(
            "Constant", [], [f"{prefix}/{name}"], value=numpy_helper.from_array(np.asarray(values), name)
        )

    def op(kind: str, inputs: list[str], output: str, **attributes: Any) -> Any:
        return helper.make_node(kind, [f"{prefix}/{each}" for each in inputs], [f"{prefix}/{output}"], **attributes)

    def mean(of: str, output: str) -> Any:
        if opset >= AXES_ARE_AN_INPUT:
            return op("ReduceMean", [of, "axes"], output, keepdims=1)
        return op("ReduceMean", [of], output, axes=[2], keepdims=1)

    yield constant("rows", np.array([0, 0, -1]))
    yield constant("channels", np.array([1, -1, 1]))
    yield constant("axes", np.array([2]))
    yield constant("epsilon", np.float64(epsilon))
    yield helper.make_node("Shape", [image], [f"{prefix}/shape"])
    for name, tensor, shape in (("x", image, "rows"), ("scale", scale, "channels"), ("bias", bias, "channels")):
        yield helper.make_node("Cast", [tensor], [f"{prefix}/{name}_flat"], to=TensorProto.DOUBLE)
        yield op("Reshape", [f"{name}_flat", shape], name)
    yield mean("x", "mean")
    yield op("Sub", ["x", "mean"], "centred")
    yield op("Mul", ["centred", "centred"], "squared")
    yield mean("squared", "variance")
    yield op("Add", ["variance", "epsilon"], "raised")
    yield op("Sqrt", ["raised"], "deviation")
    yield op("Div", ["centred", "deviation"], "normed")
    yield op("Mul", ["normed", "scale"], "scaled")
    yield op("Add", ["scaled", "bias"], "shifted")
    yield op("Reshape", ["shifted", "shape"], "whole")
    yield helper.make_node("Cast", [f"{prefix}/whole"], [node.output[0]], to=TensorProto.FLOAT)
