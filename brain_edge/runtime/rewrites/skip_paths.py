"""Paths of nodes between a skip connection and the convolutions that read it, and their computation part by part.

A skip connection joins the channels of two results (N, C, ...). Activations, constant factors, norms by channel and
norms by group give the same result on each part. Therefore the rewrites `skip_sums` and `skip_norms` may split them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

CHANNELS: Final = 1
"""Axis of the channels in (N, C, ...)."""
QUANTISER: Final = "FakeQuantize"
"""Type of the node before each computation in bytes of a quantised graph."""
PARTS: Final = 2
"""Number of parts of a skip connection. A dense block joins many small results and would become as many sums."""

Span = tuple[int, int]
"""First channel of a part, and the channel after its last."""


@dataclass(frozen=True)
class Path:
    """A convolution, and the nodes between a concatenation and the convolution, in this order."""

    between: tuple[Any, ...]
    convolution: Any


@dataclass(frozen=True)
class Part:
    """One of two joined parts: its tensor, and its channels after joining."""

    data: Any
    span: Span


def is_quantised(model: Any) -> bool:
    """Return True if an OpenVINO model computes anything in bytes."""
    return any(node.get_type_name() == QUANTISER for node in model.get_ops())


def is_skip(node: Any) -> bool:
    """Return True if a node joins the channels of two images."""
    return (
        node.get_type_name() == "Concat"
        and node.get_input_size() == PARTS
        and len(node.get_output_shape(0)) > CHANNELS + 1
        and node.get_attributes()["axis"] in (CHANNELS, CHANNELS - len(node.get_output_shape(0)))
    )


def paths_from(node: Any, between: tuple[Any, ...] = ()) -> list[Path] | None:
    """Return every path from a concatenation down to a convolution; None if a path ends elsewhere."""
    found: list[Path] = []
    for target in node.output(0).get_target_inputs():
        reader = target.get_node()
        if target.get_index() != 0:
            return None
        if reader.get_type_name() == "Convolution":
            found.append(Path(between, reader))
            continue
        if reader.get_type_name() not in BY_CHANNEL:
            return None
        further = paths_from(reader, (*between, reader))
        if further is None:
            return None
        found += further
    return found


def is_separable(path: Path, join: Any) -> bool:
    """Return True if each part can pass separately: all parameters are constants, no group has channels of both."""
    first = int(join.get_input_shape(0)[CHANNELS])
    channels = int(join.get_output_shape(0)[CHANNELS])
    for node in path.between:
        if not all(is_constant(node, port) for port in range(1, node.get_input_size())):
            return False
        if node.get_type_name() == "GroupNormalization" and first % (channels // _groups(node)):
            return False
        rank = len(node.get_input_shape(0))
        if node.get_type_name() == "MVN" and any(axis % rank <= CHANNELS for axis in constant_of(node, 1).ravel()):
            return False
    return True


def parts_of(join: Any) -> list[Part]:
    """Return the joined parts in channel order."""
    parts, first = [], 0
    for port in range(PARTS):
        last = first + int(join.get_input_shape(port)[CHANNELS])
        parts.append(Part(join.input_value(port), (first, last)))
        first = last
    return parts


def computed_on(part: Part, between: tuple[Any, ...], made: dict[tuple[str, Span], Any], opset: Any) -> Any:
    """Apply the nodes of a path to one part; `made` holds earlier results, because paths can share nodes."""
    data = part.data
    for step in between:
        key = (step.get_friendly_name(), part.span)
        if key not in made:
            made[key] = BY_CHANNEL[step.get_type_name()](step, data, part.span, opset)
        data = made[key]
    return data


def is_constant(node: Any, port: int) -> bool:
    """Return True if an input of a node is a constant."""
    return bool(node.input_value(port).get_node().get_type_name() == "Constant")


def constant_of(node: Any, port: int) -> Any:
    """Return the values of a constant input."""
    return node.input_value(port).get_node().get_data()


def _groups(node: Any) -> int:
    return int(node.get_attributes()["num_groups"])


def _share(node: Any, port: int, span: Span, axis: int) -> Any:
    """Return a constant input's values for some channels; all values if the channels share them."""
    values = constant_of(node, port)
    if axis < 0 or values.ndim <= axis or values.shape[axis] == 1:
        return values
    return np.take(values, range(*span), axis=axis)


def _activation(node: Any, data: Any, _span: Span, opset: Any) -> Any:
    return {"Relu": opset.relu, "Mish": opset.mish}[node.get_type_name()](data)


def _prelu(node: Any, data: Any, span: Span, opset: Any) -> Any:
    # a slope with one axis belongs to the channels, for data of any rank
    slope = constant_of(node, 1)
    return opset.prelu(data, _share(node, 1, span, 0 if slope.ndim == 1 else CHANNELS))


def _arithmetic(node: Any, data: Any, span: Span, opset: Any) -> Any:
    # axes are aligned at the end, as in numpy
    axis = constant_of(node, 1).ndim - len(node.get_input_shape(0)) + CHANNELS
    return {"Multiply": opset.multiply, "Add": opset.add}[node.get_type_name()](data, _share(node, 1, span, axis))


def _instance_norm(node: Any, data: Any, _span: Span, opset: Any) -> Any:
    about = node.get_attributes()
    return opset.mvn(data, constant_of(node, 1), about["normalize_variance"], about["eps"], about["eps_mode"])


def _group_norm(node: Any, data: Any, span: Span, opset: Any) -> Any:
    per_group = int(node.get_input_shape(0)[CHANNELS]) // _groups(node)
    scale, bias = (_share(node, port, span, 0) for port in (1, 2))
    groups = (span[1] - span[0]) // per_group
    return opset.group_normalization(data, scale, bias, groups, node.get_attributes()["epsilon"])


def _quantiser(node: Any, data: Any, span: Span, opset: Any) -> Any:
    limits = []
    for port in range(1, node.get_input_size()):
        values = constant_of(node, port)
        limits.append(_share(node, port, span, values.ndim - len(node.get_input_shape(0)) + CHANNELS))
    return opset.fake_quantize(data, *limits, node.get_attributes()["levels"])


BY_CHANNEL: Final[Mapping[str, Callable[[Any, Any, Span, Any], Any]]] = {
    "Relu": _activation,
    "Mish": _activation,
    "PRelu": _prelu,
    "Multiply": _arithmetic,
    "Add": _arithmetic,
    "MVN": _instance_norm,
    "GroupNormalization": _group_norm,
    QUANTISER: _quantiser,
}
"""Functions for the node types that give the same result for some channels as within all channels."""
