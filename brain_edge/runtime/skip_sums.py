"""Skip connections without their concatenation: a rewrite of a graph just before it is compiled in f32.

A U-Net joins what it has upsampled with what it has kept, and convolves both: at full resolution the joined tensor is
the largest of the network, and it is a copy of two that are there already. A convolution is linear in its channels,
so that of the joined tensor is the sum of one convolution of each part, with its share of the weights; OpenVINO adds
the second one in place. What stands between the two, norms by channel or group and activations, works on each part
as on the whole. The result is the same but for rounding, the arithmetic too, and a decoder's peak falls by the joined
tensor (docs/decisions/0024, benchmarks/skip_sums.py). Quantised graphs are left alone: there the parts would be added
in floating point, four times as large as the bytes that were joined.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from brain_edge.runtime.operations import is_quantised

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

CHANNELS: Final = 1
"""Axis of the channels in (N, C, ...)."""
PARTS: Final = 2
"""Of a skip connection. A dense block joins many small results, and would be as many sums."""

Span = tuple[int, int]
"""First and last-plus-one channel of a part."""


@dataclass(frozen=True)
class Path:
    """A convolution and the nodes between it and a concatenation, from there on."""

    between: tuple[Any, ...]
    convolution: Any


def sum_skips(model: Any, opset: Any) -> int:
    """Replace convolutions of two joined results by sums of two convolutions.

    Args:
        model: `openvino.Model` of static shape, changed in place.
        opset: the operation set to build with, such as `openvino.opset13`.

    Returns:
        How many convolutions were replaced; 0 in a quantised graph.
    """
    if is_quantised(model):
        return 0
    replaced = 0
    for node in list(model.get_ordered_ops()):
        if not _is_skip(node):
            continue
        paths = _paths(node)
        if not paths or not all(_is_separable(path, node) for path in paths):
            continue  # where one reader needs the joined tensor it is there anyway
        parts = _latest_first(model, node)
        made: dict[tuple[str, Span], Any] = {}
        for path in paths:
            _sum(path, parts, made, opset)
        replaced += len(paths)
    if replaced:
        model.validate_nodes_and_infer_types()
    return replaced


@dataclass(frozen=True)
class Part:
    """One of two that are joined: its tensor, and the channels that it becomes."""

    data: Any
    span: Span


def _is_skip(node: Any) -> bool:
    return (
        node.get_type_name() == "Concat"
        and node.get_input_size() == PARTS
        and len(node.get_output_shape(0)) > CHANNELS + 1
        and node.get_attributes()["axis"] in (CHANNELS, CHANNELS - len(node.get_output_shape(0)))
    )


def _paths(node: Any, between: tuple[Any, ...] = ()) -> list[Path] | None:
    """Every way from a concatenation down to a convolution; None where one of them ends elsewhere."""
    found: list[Path] = []
    for target in node.output(0).get_target_inputs():
        reader = target.get_node()
        if target.get_index() != 0:
            return None
        if reader.get_type_name() == "Convolution":
            found.append(Path(between, reader))
            continue
        if reader.get_type_name() not in _BY_CHANNEL:
            return None
        further = _paths(reader, (*between, reader))
        if further is None:
            return None
        found += further
    return found


def _is_separable(path: Path, join: Any) -> bool:
    """Whether each part can be computed by itself: all parameters are constants, and no group has channels of both."""
    first = int(join.get_input_shape(0)[CHANNELS])
    channels = int(join.get_output_shape(0)[CHANNELS])
    for node in path.between:
        if any(_constant(node, port) is None for port in range(1, node.get_input_size())):
            return False
        if node.get_type_name() == "GroupNormalization" and first % (channels // _groups(node)):
            return False
        if node.get_type_name() == "MVN" and _spans_channels(node):
            return False
    return _constant(path.convolution, 1) is not None


def _spans_channels(node: Any) -> bool:
    rank = len(node.get_input_shape(0))
    return any(int(axis) % rank <= CHANNELS for axis in _required(node, 1).ravel())


def _latest_first(model: Any, join: Any) -> list[Part]:
    """The parts, that which is computed last first: it is then used at once, and the other one is there already."""
    position = {node.get_friendly_name(): number for number, node in enumerate(model.get_ordered_ops())}
    parts, first = [], 0
    for port in range(PARTS):
        last = first + int(join.get_input_shape(port)[CHANNELS])
        parts.append(Part(join.input_value(port), (first, last)))
        first = last
    return sorted(parts, key=lambda part: -position[part.data.get_node().get_friendly_name()])


def _sum(path: Path, parts: list[Part], made: dict[tuple[str, Span], Any], opset: Any) -> None:
    """Put the sum in the place of the convolution; `made` is what stands before it, which others may read too."""
    node = path.convolution
    weights, about = _required(node, 1), node.get_attributes()
    terms = []
    for number, part in enumerate(parts):
        data = part.data
        for step in path.between:
            key = (step.get_friendly_name(), part.span)
            if key not in made:
                made[key] = _BY_CHANNEL[step.get_type_name()](step, data, part.span, opset)
            data = made[key]
        first, last = part.span
        share = np.ascontiguousarray(weights[:, first:last])
        geometry = (about["strides"], about["pads_begin"], about["pads_end"], about["dilations"], about["auto_pad"])
        term = opset.convolution(data, share, *geometry)
        term.set_friendly_name(f"{node.get_friendly_name()}/part{number}")
        terms.append(term)
    total = opset.add(*terms)
    total.set_friendly_name(node.get_friendly_name())
    node.output(0).replace(total.output(0))


def _constant(node: Any, port: int) -> Any | None:
    source = node.input_value(port).get_node()
    return source.get_data() if source.get_type_name() == "Constant" else None


def _required(node: Any, port: int) -> Any:
    value = _constant(node, port)
    if value is None:
        raise AssertionError(f"{node.get_friendly_name()}: input {port} was a constant a moment ago")
    return value


def _groups(node: Any) -> int:
    return int(node.get_attributes()["num_groups"])


def _share(node: Any, port: int, span: Span, axis: int) -> Any:
    """What a constant input holds for some channels; the whole of it where all channels have the same."""
    values = _required(node, port)
    if axis < 0 or values.ndim <= axis or values.shape[axis] == 1:
        return values
    return np.take(values, range(*span), axis=axis)


def _activation(node: Any, data: Any, _span: Span, opset: Any) -> Any:
    return {"Relu": opset.relu, "Mish": opset.mish}[node.get_type_name()](data)


def _prelu(node: Any, data: Any, span: Span, opset: Any) -> Any:
    # a slope of one axis is of the channels, whatever the rank of the data
    slope = _required(node, 1)
    return opset.prelu(data, _share(node, 1, span, 0 if slope.ndim == 1 else CHANNELS))


def _arithmetic(node: Any, data: Any, span: Span, opset: Any) -> Any:
    # axes are aligned at the end, as numpy does
    axis = _required(node, 1).ndim - len(node.get_input_shape(0)) + CHANNELS
    return {"Multiply": opset.multiply, "Add": opset.add}[node.get_type_name()](data, _share(node, 1, span, axis))


def _instance_norm(node: Any, data: Any, _span: Span, opset: Any) -> Any:
    about = node.get_attributes()
    return opset.mvn(data, _required(node, 1), about["normalize_variance"], about["eps"], about["eps_mode"])


def _group_norm(node: Any, data: Any, span: Span, opset: Any) -> Any:
    per_group = int(node.get_input_shape(0)[CHANNELS]) // _groups(node)
    scale, bias = (_share(node, port, span, 0) for port in (1, 2))
    groups = (span[1] - span[0]) // per_group
    return opset.group_normalization(data, scale, bias, groups, node.get_attributes()["epsilon"])


_BY_CHANNEL: Final[Mapping[str, Callable[[Any, Any, Span, Any], Any]]] = {
    "Relu": _activation,
    "Mish": _activation,
    "PRelu": _prelu,
    "Multiply": _arithmetic,
    "Add": _arithmetic,
    "MVN": _instance_norm,
    "GroupNormalization": _group_norm,
}
"""Nodes that make of some channels what they make of them among all, each as a function that does so."""
