"""What the layers of a graph compute: multiply-adds, and the numbers that a kernel works on, by its name."""

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
"""Layers with weights: what takes nearly all operations of a network."""
INTEGER_TYPES: Final = frozenset({"i8", "u8"})
"""How the names of kernels end that compute in bytes, such as `jit_avx512_I8`."""
REFERENCE: Final = "ref"
"""How the names of kernels begin that are written to be right, not fast."""


def multiply_adds(node: Any) -> int:
    """Of one weighted layer of an OpenVINO model of static shapes."""
    kind = node.get_type_name()
    ports = (node.input_value(0), node.output(0), node.input_value(1))
    inputs, output, weights = ([int(side) for side in port.shape] for port in ports)
    if kind == "MatMul":
        return math.prod(output) * inputs[-2 if node.get_attributes()["transpose_a"] else -1]
    # a convolution computes each output from a kernel of inputs, its transpose each input into a kernel of outputs;
    # weights are (channels, channels, *kernel), or (groups, channels, channels, *kernel)
    each = inputs if kind.endswith("BackpropData") else output
    return math.prod(each) * math.prod(weights[2 if kind.startswith("Group") else 1 :])


def kernel_type(kernel: str) -> str:
    """The numbers that a kernel computes with, such as `i8`, `bf16`, `f32`; its runtime precision may be its input's.

    >>> kernel_type("brgconv_avx512_I8"), kernel_type("jit_avx2_f32")
    ('i8', 'f32')
    """
    kind = kernel.rpartition("_")[2].lower()
    return "i8" if kind in INTEGER_TYPES else kind


def is_integer(kernel: str) -> bool:
    """Whether a kernel computes in bytes."""
    return kernel_type(kernel) == "i8"


def value_of(constant: Any) -> FloatArray:
    """What an output of a model is that depends on no input, such as weights behind their quantiser."""
    model = import_openvino().Model([constant], [], "value")
    request = compile_model(model, {"INFERENCE_PRECISION_HINT": "f32"}).create_infer_request()
    return np.array(request.infer()[0])


def compile_model(model: Any, properties: Mapping[str, Any]) -> Any:
    """An `openvino.Model`, compiled for this CPU.

    Raises:
        RuntimeError: OpenVINO cannot compile it.
    """
    return import_openvino().Core().compile_model(model, "CPU", properties)
