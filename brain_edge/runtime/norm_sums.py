"""Instance and group norms whose sums are right: a rewrite of a graph just before it is compiled in f32.

OpenVINO's CPU plugin adds up a whole volume in one f32 accumulator per channel. After some millions of voxels a
voxel is smaller than half the last digit of the sum, and mean and variance drift: on 128 x 160 x 160 voxels the
result is off by 1e-3 to 1e-2, more with fewer threads, where PyTorch is off by 1e-6. Here every axis is summed by
itself, so that no accumulator sees more numbers than an axis has; the time is that of the plugin's own norm
(docs/decisions/0018). Quantised graphs are left alone, because the plugin has an INT8 kernel for the norm itself, and
so is every precision but f32, where sums in parts would be rounded to it.
"""

from __future__ import annotations

from math import prod
from typing import Any, Final

import numpy as np

LEAST_SUMMANDS: Final = 4096
"""A norm over fewer numbers (a layer norm over channels) is left alone: its sums are right to 1e-6 as they are."""

_QUANTISER: Final = "FakeQuantize"


def sum_norms_by_axis(model: Any, opset: Any) -> int:
    """Replace the norms of a graph of static shape by the same norms with sums axis by axis.

    Args:
        model: `openvino.Model`, changed in place.
        opset: the operation set to build with, such as `openvino.opset13`.

    Returns:
        How many norms were replaced; 0 in a quantised graph.
    """
    nodes = list(model.get_ordered_ops())
    if any(node.get_type_name() == _QUANTISER for node in nodes):
        return 0
    makers = {"MVN": _of_instance_norm, "GroupNormalization": _of_group_norm}
    replaced = 0
    for node in nodes:
        maker = makers.get(node.get_type_name())
        by_axis = maker(node, opset) if maker is not None else None
        if by_axis is None:
            continue
        by_axis.set_friendly_name(node.get_friendly_name())
        node.output(0).replace(by_axis.output(0))
        replaced += 1
    if replaced:
        model.validate_nodes_and_infer_types()
    return replaced


def _of_instance_norm(node: Any, opset: Any) -> Any | None:
    """MVN over the last axes of its input; None where it is another one, or a small one."""
    attributes = node.get_attributes()
    if node.get_input_size() != 2 or not attributes["normalize_variance"]:
        return None
    sides = list(node.get_input_shape(0))
    axes = sorted(int(axis) % len(sides) for axis in node.input_value(1).get_node().data.ravel())
    first = len(sides) - len(axes)
    if axes != list(range(first, len(sides))) or prod(sides[first:]) < LEAST_SUMMANDS:
        return None
    return _normalised(node.input_value(0), sides, first, attributes, opset)


def _of_group_norm(node: Any, opset: Any) -> Any | None:
    """GroupNormalization(data, scale, bias) of (N, C, ...); None where the groups are small."""
    attributes, sides = node.get_attributes(), list(node.get_input_shape(0))
    groups = int(attributes["num_groups"])
    grouped = [sides[0], groups, sides[1] // groups, *sides[2:]]
    if prod(grouped[2:]) < LEAST_SUMMANDS:
        return None
    split = opset.reshape(node.input_value(0), _whole(grouped), False)
    attributes = {"eps": attributes["epsilon"], "eps_mode": "inside_sqrt"}
    joined = opset.reshape(_normalised(split, grouped, 2, attributes, opset), _whole(sides), False)
    per_channel = _whole([sides[1], *(1 for _ in sides[2:])])
    scale, bias = (opset.reshape(node.input_value(port), per_channel, False) for port in (1, 2))
    return opset.add(opset.multiply(joined, scale), bias)


def _normalised(data: Any, sides: list[int], first: int, attributes: dict[str, Any], opset: Any) -> Any:
    """(data - mean) / deviation over the axes from `first` on; the variance from the centred data, in two passes."""
    centred = opset.subtract(data, _by_axis(opset.reduce_mean, data, sides, first, opset))
    length = _by_axis(opset.reduce_l2, centred, sides, first, opset)
    variance = opset.multiply(opset.multiply(length, length), np.float32(1.0 / prod(sides[first:])))
    epsilon = np.float32(attributes["eps"])
    if attributes["eps_mode"].lower() == "inside_sqrt":
        deviation = opset.sqrt(opset.add(variance, epsilon))
    else:
        deviation = opset.add(opset.sqrt(variance), epsilon)
    return opset.multiply(centred, opset.divide(np.float32(1), deviation))


def _by_axis(reduce: Any, data: Any, sides: list[int], first: int, opset: Any) -> Any:
    """`reduce` over the axes from `first` on, one after the other, the last axis first; the rank stays.

    The reshape between two of them drops the axis that is done. It also keeps the plugin from merging them into the
    one reduction that this is here to avoid.
    """
    for axis in reversed(range(first, len(sides))):
        data = opset.reshape(reduce(data, _whole([axis]), True), _whole(sides[:axis]), False)
    return opset.reshape(data, _whole([*sides[:first], *(1 for _ in sides[first:])]), False)


def _whole(numbers: list[int]) -> Any:
    return np.asarray(numbers, dtype=np.int64)
