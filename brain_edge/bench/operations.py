"""Count the multiply-accumulates of the layers of a graph, and read the number format of a kernel from its name."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from brain_edge.runtime.library import import_openvino

if TYPE_CHECKING:
    from collections.abc import Mapping

    from brain_edge.image.volume import FloatArray

WEIGHTED: Final = frozenset(
    {"Convolution", "GroupConvolution", "ConvolutionBackpropData", "GroupConvolutionBackpropData", "MatMul"}
)
"""Layers with weights, which take nearly all operations of a network."""
INTEGER_TYPES: Final = frozenset({"i8", "u8"})
"""Ends of the names of kernels that compute in bytes, such as `jit_avx512_I8`."""
REFERENCE: Final = "ref"
"""Begin of the names of reference kernels, which are written to be right, not fast."""


def bodies_of(node: Any) -> list[Any]:
    """Return the graphs within a node of a graph: the body of a loop, or both sides of a branch."""
    if node.get_type_name() == "If":
        return [node.get_then_body(), node.get_else_body()]
    return [node.get_function()] if node.get_type_name() in ("Loop", "TensorIterator") else []


def multiply_adds(node: Any) -> int:
    """Return the multiply-accumulates of one weighted layer of an OpenVINO model with static shapes."""
    kind = node.get_type_name()
    ports = (node.input_value(0), node.output(0), node.input_value(1))
    inputs, output, weights = ([int(side) for side in port.shape] for port in ports)
    if kind == "MatMul":
        return math.prod(output) * inputs[-2 if node.get_attributes()["transpose_a"] else -1]
    # a convolution computes each output from a kernel of inputs, and its transpose spreads each input over a kernel of
    # outputs; weights are (channels, channels, *kernel) or (groups, channels, channels, *kernel)
    each = inputs if kind.endswith("BackpropData") else output
    return math.prod(each) * math.prod(weights[2 if kind.startswith("Group") else 1 :])


def kernel_type(kernel: str) -> str:
    """Return the number format in which a kernel computes (`i8`, `bf16`, `f32`); its runtime precision may differ.

    >>> kernel_type("brgconv_avx512_I8"), kernel_type("jit_avx2_f32")
    ('i8', 'f32')
    """
    kind = kernel.rpartition("_")[2].lower()
    return "i8" if kind in INTEGER_TYPES else kind


def is_integer(kernel: str) -> bool:
    """Return True if a kernel computes in bytes."""
    return kernel_type(kernel) == "i8"


def value_of(constant: Any) -> FloatArray:
    """Return the value of a model output that depends on no input, such as weights behind their quantiser."""
    model = import_openvino().Model([constant], [], "value")
    request = compile_model(model, {"INFERENCE_PRECISION_HINT": "f32"}).create_infer_request()
    return np.array(request.infer()[0])


def compile_model(model: Any, properties: Mapping[str, Any]) -> Any:
    """Compile an `openvino.Model` for this CPU.

    Raises:
        RuntimeError: OpenVINO cannot compile the model.
    """
    return import_openvino().Core().compile_model(model, "CPU", properties)
