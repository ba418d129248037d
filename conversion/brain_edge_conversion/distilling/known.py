"""Operations through which a gradient is known; PyTorch is not needed to ask for them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

DATA_INPUTS: Final[Mapping[str, int]] = {
    **dict.fromkeys(("Reshape", "Squeeze", "Unsqueeze", "Broadcast", "Interpolate"), 1),
    **dict.fromkeys(("ConvolutionBackpropData", "GroupConvolutionBackpropData"), 2),
}
"""Number of inputs that are read where the static shape of the output replaces the others."""
ENDS: Final = frozenset({"Parameter", "Constant", "Result"})
KNOWN: Final = frozenset(
    {
        *("Convolution", "GroupConvolution", "ConvolutionBackpropData", "GroupConvolutionBackpropData"),
        *("Add", "Subtract", "Multiply", "Divide", "Concat", "FakeQuantize", "Convert"),
        *("Relu", "PRelu", "Elu", "Sigmoid", "Swish", "Mish", "Gelu", "Tanh", "Exp", "Sqrt", "Softmax"),
        *("MVN", "GroupNormalization", "ReduceMean", "MaxPool", "AvgPool", "Interpolate"),
        *("Reshape", "Squeeze", "Unsqueeze", "Broadcast"),
    }
)
"""Kinds of operations with a counterpart in PyTorch (`distilling.arithmetic`)."""
INTERPOLATIONS: Final = {
    ("nearest", "asymmetric"): ("nearest", None),
    ("linear_onnx", "pytorch_half_pixel"): ("linear", False),
    ("linear_onnx", "half_pixel"): ("linear", False),
    ("linear_onnx", "align_corners"): ("linear", True),
}
"""Mode and coordinates of an interpolation -> mode of PyTorch, and whether it aligns corners."""


def needed(model: Any) -> list[Any]:
    """Return the nodes of a model whose values its first output depends on, in order, without those of shapes alone."""
    wanted, ahead = set(), [model.get_results()[0]]
    while ahead:
        node = ahead.pop()
        if node.get_friendly_name() not in wanted:
            wanted.add(node.get_friendly_name())
            ahead += [value.get_node() for value in data_of(node)]
    return [node for node in model.get_ordered_ops() if node.get_friendly_name() in wanted]


def data_of(node: Any) -> list[Any]:
    """Return the inputs of a node whose values are read."""
    inputs = node.input_values()
    return list(inputs[: DATA_INPUTS.get(node.get_type_name(), len(inputs))])


def first_unknown(model: Any) -> str | None:
    """Return the kind of the first operation of a model without a known gradient; None if all have one."""
    return next((_kind(node) for node in needed(model) if not _is_known(node)), None)


def _is_known(node: Any) -> bool:
    kind, attributes = node.get_type_name(), node.get_attributes()
    if kind == "Interpolate":
        return interpolation_of(attributes) in INTERPOLATIONS
    if kind == "MaxPool" and set(attributes["dilations"]) != {1}:
        return False
    # a second output, such as the places of the largest values, has no counterpart
    return kind in KNOWN | ENDS and all(value.get_index() == 0 for value in data_of(node))


def interpolation_of(attributes: Mapping[str, Any]) -> tuple[str, str]:
    """Return mode and coordinates of an interpolation."""
    return str(attributes["mode"]), str(attributes["coordinate_transformation_mode"])


def _kind(node: Any) -> str:
    kind = str(node.get_type_name())
    return kind if kind != "Interpolate" else " ".join((kind, *interpolation_of(node.get_attributes())))
