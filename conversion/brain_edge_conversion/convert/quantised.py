"""Detection of a graph that is quantised already, by its nodes, not by what its file states."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from brain_edge.bench.operations import WEIGHTED, bodies_of

if TYPE_CHECKING:
    from collections.abc import Iterator

BYTES: Final = frozenset({"i8", "u8", "i4", "u4"})
BEHIND_WEIGHTS: Final = frozenset({"Convert", "Subtract", "Multiply", "Reshape", "Transpose"})
"""Operations that turn quantised weights into floats."""


def quantised_node(model: Any) -> str | None:
    """Describe the first node of an OpenVINO model that quantises or has 8-bit weights; None for a float model.

    OpenVINO turns QuantizeLinear, DequantizeLinear, QLinearConv, ConvInteger and FakeQuantize into such nodes.
    """
    for node in _nodes(model):
        kind = node.get_type_name()
        if kind == "FakeQuantize" or (kind in WEIGHTED and _weights_are_bytes(node)):
            return f"{kind} {node.get_friendly_name()}"
    return None


def _nodes(model: Any) -> Iterator[Any]:
    for node in model.get_ordered_ops():
        yield node
        for body in bodies_of(node):
            yield from _nodes(body)


def _weights_are_bytes(layer: Any) -> bool:
    ahead = [layer.input_value(1).get_node()]
    while ahead:
        node = ahead.pop()
        kind = node.get_type_name()
        if kind == "Constant" and node.get_output_element_type(0).get_type_name() in BYTES:
            return True
        if kind in BEHIND_WEIGHTS:
            ahead.extend(value.get_node() for value in node.input_values())
    return False
