"""Norms and means of volumes with accurate sums: a rewrite of a graph just before it is compiled in f32.

OpenVINO's CPU plugin adds up a whole volume in one f32 accumulator per channel. After some millions of voxels, a voxel
is smaller than half the last digit of the sum, and mean and variance drift. On 128 x 160 x 160 voxels the result is off
by 1e-3 to 1e-2, more with fewer threads; PyTorch is off by 1e-6. Means of volumes in gates of channels (CBAM, squeeze
and excitation) drift in the same way. This rewrite sums every axis separately, so that no accumulator sums more numbers
than an axis has. It takes the time of the plugin's own norm (docs/decisions/0018).

The rewrite handles any axes, because every converter has its own form of a norm: torch.export writes means over
[0, 2, 3, 4], ONNX writes a group norm as an instance norm of one long axis, which is cut into factors. In a quantised
graph, instance norms stay, because the plugin has an INT8 kernel for them, unlike for a group norm. Graphs of any other
precision than f32 stay, because partial sums would be rounded to that precision.
"""

from __future__ import annotations

from math import prod
from typing import Any, Final

import numpy as np

from brain_edge.runtime.rewrites.skip_paths import constant_of, is_constant, is_quantised

LEAST_SUMMANDS: Final = 4096
"""Smallest number of summands that is rewritten; smaller sums (a layer norm over channels) are right to 1e-6."""

LONGEST_PART: Final = 512
"""Largest number of summands at once, on an axis of at least `LEAST_SUMMANDS`."""

LANES: Final = 16
"""Numbers in a vector of AVX-512."""

REDUCTIONS: Final = ("ReduceMean", "ReduceSum", "ReduceL1", "ReduceL2")
"""Operations that give the same result over two axes at once and over one after the other."""


def sum_by_axis(model: Any, opset: Any) -> int:
    """Replace the norms, means and sums of a graph of static shape by equivalents with sums axis by axis.

    Args:
        model: `openvino.Model`, changed in place.
        opset: operation set for new nodes, such as `openvino.opset13`.

    Returns:
        Number of replaced nodes; in a quantised graph only group norms are replaced.
    """
    makers = {"GroupNormalization": _of_group_norm}
    if not is_quantised(model):
        makers |= {"MVN": _of_instance_norm} | dict.fromkeys(REDUCTIONS, _of_reduction)
    return _replace(model, makers, opset)


def write_out_odd_norms(model: Any, opset: Any) -> int:
    """Replace the norms that do not fill vectors of AVX-512, of 16 numbers, by sums axis by axis.

    Where `ONEDNN_MAX_CPU_ISA` hides AVX-512, the plugin's norm of OpenVINO 2026.4 is still built for AVX-512, but its
    last numbers are not, and the process ends with a segmentation fault (docs/decisions/0053).

    Args:
        model: `openvino.Model` of static shape, changed in place.
        opset: operation set for new nodes, such as `openvino.opset13`.

    Returns:
        Number of replaced nodes.
    """
    makers = {"GroupNormalization": _of_odd_group_norm, "MVN": _of_odd_norm}
    return _replace(model, makers, opset)


def _replace(model: Any, makers: dict[str, Any], opset: Any) -> int:
    """Replace nodes by what the maker of their type returns, and count them; None keeps a node."""
    replaced = 0
    for node in list(model.get_ordered_ops()):
        maker = makers.get(node.get_type_name())
        by_axis = maker(node, opset) if maker is not None and _is_static_f32(node) else None
        if by_axis is None:
            continue
        by_axis.set_friendly_name(node.get_friendly_name())
        node.output(0).replace(by_axis.output(0))
        replaced += 1
    if replaced:
        model.validate_nodes_and_infer_types()
    return replaced


def _is_static_f32(node: Any) -> bool:
    return bool(node.get_input_partial_shape(0).is_static) and node.get_input_element_type(0).get_type_name() == "f32"


def _of_reduction(node: Any, opset: Any) -> Any | None:
    """Rewrite a mean or sum over any axes; None if it is small, or already a single sum."""
    axes, sides = _summed_axes(node), list(node.get_input_shape(0))
    if not axes or (len(axes) == 1 and _part(sides[axes[0]]) == sides[axes[0]]):
        return None
    reduce = getattr(opset, f"reduce_{node.get_type_name().removeprefix('Reduce').lower()}")
    reduced = _by_axis(reduce, node.input_value(0), sides, axes, opset)
    return opset.reshape(reduced, _whole(list(node.get_output_shape(0))), False)


def _of_instance_norm(node: Any, opset: Any) -> Any | None:
    """Rewrite MVN over any axes of its input; None if it only subtracts the mean, or is small."""
    attributes = node.get_attributes()
    if node.get_input_size() != 2 or not attributes["normalize_variance"]:
        return None
    axes = _summed_axes(node)
    if not axes:
        return None
    data, sides = node.input_value(0), list(node.get_input_shape(0))
    summands = prod(sides[axis] for axis in axes)
    # the plugin's own mean is inexact, but near: it centres in place, and the exact sums below need no other copy
    near = opset.mvn(data, _whole(axes), False, 0.0, "inside_sqrt")
    mean = _by_axis(opset.reduce_mean, near, sides, axes, opset)
    length = _by_axis(opset.reduce_l2, near, sides, axes, opset)
    variance = opset.subtract(_mean_square(length, summands, opset), opset.multiply(mean, mean))
    return opset.multiply(opset.subtract(near, mean), _inverse_deviation(opset.relu(variance), attributes, opset))


def _of_odd_norm(node: Any, opset: Any) -> Any | None:
    """Rewrite MVN over constant axes; None if its channels and summands fill vectors of AVX-512."""
    if not is_constant(node, 1):
        return None
    data, sides, attributes = node.input_value(0), list(node.get_input_shape(0)), node.get_attributes()
    summed = sorted({int(axis) % len(sides) for axis in constant_of(node, 1).ravel()})
    summands = prod(sides[axis] for axis in summed)
    if not _leaves_some(node, summands):
        return None
    centred = opset.subtract(data, _by_axis(opset.reduce_mean, data, sides, summed, opset))
    if not attributes["normalize_variance"]:
        return centred
    length = _by_axis(opset.reduce_l2, centred, sides, summed, opset)
    return opset.multiply(centred, _inverse_deviation(_mean_square(length, summands, opset), attributes, opset))


def _of_group_norm(node: Any, opset: Any) -> Any | None:
    """Rewrite GroupNormalization(data, scale, bias) of (N, C, ...); None if the groups are small.

    Channels are summed separately, and the sums of a group are computed from them. A separate axis for groups would
    cost a copy of the data in another layout.
    """
    return _group_norm_by_axis(node, opset) if _summands_of_group(node) >= LEAST_SUMMANDS else None


def _of_odd_group_norm(node: Any, opset: Any) -> Any | None:
    """Rewrite GroupNormalization; None if its channels and groups fill vectors of AVX-512."""
    return _group_norm_by_axis(node, opset) if _leaves_some(node, _summands_of_group(node)) else None


def _leaves_some(node: Any, summands: int) -> bool:
    """Return True if the vectors of a sum leave some numbers over: of a channel, or of all that is summed."""
    return bool(summands % LANES or prod(node.get_input_shape(0)[2:]) % LANES)


def _summands_of_group(node: Any) -> int:
    sides = node.get_input_shape(0)
    return int(prod(sides[1:]) // node.get_attributes()["num_groups"])


def _group_norm_by_axis(node: Any, opset: Any) -> Any:
    attributes, sides = node.get_attributes(), list(node.get_input_shape(0))
    groups, summands = int(attributes["num_groups"]), prod(sides[2:])
    in_group = sides[1] // groups
    ones = [1 for _ in sides[2:]]

    def mean_of_group(channels: Any) -> Any:
        """Return the mean over the channels of its group, for each channel."""
        grouped = opset.reshape(channels, _whole([sides[0], groups, in_group]), False)
        spread = opset.broadcast(opset.reduce_mean(grouped, _whole([2]), True), _whole([sides[0], groups, in_group]))
        return opset.reshape(spread, _whole([*sides[:2], *ones]), False)

    data, spatial = node.input_value(0), list(range(2, len(sides)))
    centred = opset.subtract(data, mean_of_group(_by_axis(opset.reduce_mean, data, sides, spatial, opset)))
    lengths = _by_axis(opset.reduce_l2, centred, sides, spatial, opset)
    variance = mean_of_group(_mean_square(lengths, summands, opset))
    attributes = {"eps": attributes["epsilon"], "eps_mode": "inside_sqrt"}
    scale, bias = (opset.reshape(node.input_value(port), _whole([1, sides[1], *ones]), False) for port in (1, 2))
    factor = opset.multiply(_inverse_deviation(variance, attributes, opset), scale)
    return opset.add(opset.multiply(centred, factor), bias)


def _summed_axes(node: Any) -> list[int]:
    """Return the axes over which a node sums, without axes of length 1; empty if it sums too few numbers to rewrite."""
    axes, sides = node.input_value(1).get_node(), list(node.get_input_shape(0))
    if axes.get_type_name() == "Constant":
        summed = sorted({int(axis) % len(sides) for axis in axes.data.ravel()})
    else:
        summed = _vanished_axes(sides, node.get_output_partial_shape(0))
    long = [axis for axis in summed if sides[axis] > 1]
    return long if prod(sides[axis] for axis in long) >= LEAST_SUMMANDS else []


def _vanished_axes(sides: list[int], after: Any) -> list[int]:
    """Return the axes of length 1 in a result of the same rank; ONNX computes the axes of a global average pooling."""
    if after.is_dynamic or len(after) != len(sides):
        return []
    return [axis for axis, length in enumerate(after.to_shape()) if length == 1]


def _mean_square(length: Any, summands: int, opset: Any) -> Any:
    """Return the mean of the squares of numbers whose root of the sum of squares is `length`."""
    return opset.multiply(opset.multiply(length, length), np.float32(1.0 / summands))


def _inverse_deviation(variance: Any, attributes: dict[str, Any], opset: Any) -> Any:
    """Return 1 / deviation."""
    epsilon = np.float32(attributes["eps"])
    if attributes["eps_mode"].lower() == "inside_sqrt":
        deviation = opset.sqrt(opset.add(variance, epsilon))
    else:
        deviation = opset.add(opset.sqrt(variance), epsilon)
    return opset.divide(np.float32(1), deviation)


def _by_axis(reduce: Any, data: Any, sides: list[int], axes: list[int], opset: Any) -> Any:
    """Apply `reduce` to some axes, one after the other, the last axis first, a long axis in parts; the rank stays.

    The reshape between two reductions drops the reduced axis. It also prevents the plugin from merging them into one
    reduction, which this rewrite avoids.
    """
    left = list(sides)
    for axis in reversed(axes):
        while (part := _part(left[axis])) < left[axis]:
            left[axis] //= part
            cut = opset.reshape(data, _whole([*left[: axis + 1], part, *left[axis + 1 :]]), False)
            data = opset.reshape(reduce(cut, _whole([axis + 1]), True), _whole(left), False)
        data = reduce(data, _whole([axis]), True)
        del left[axis]
        data = opset.reshape(data, _whole(left), False)
    return opset.reshape(data, _whole([1 if axis in axes else side for axis, side in enumerate(sides)]), False)


def _part(side: int) -> int:
    """Return how many numbers of an axis are summed at once: all of a short axis, else the largest allowed factor."""
    if side < LEAST_SUMMANDS:
        return side
    largest = next(part for part in range(LONGEST_PART, 0, -1) if side % part == 0)
    return largest if largest > 1 else side


def _whole(numbers: list[int]) -> Any:
    return np.asarray(numbers, dtype=np.int64)
