"""Last layers slab by slab: a rewrite of a graph just before it is compiled in f32.

A network usually ends with a norm, an activation and a convolution of one voxel, which makes few channels of many. What
the convolution reads is as large as the largest tensor of the network, and nothing else reads it. All of these
operations treat every voxel separately, as soon as the sums of the norm are known. They can therefore run on one slab
of the volume after the other, and only the few channels exist as a whole. The result is the same
(docs/decisions/0051). Without sums, the plugin computes an activation within the convolution before it, and nothing is
to be saved.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any, Final

import numpy as np

from brain_edge.runtime.rewrites.skip_paths import CHANNELS, is_constant, is_quantised

SLABS: Final = 4
AXIS: Final = CHANNELS + 1
"""Axis of the slabs in (N, C, ...), the first one of the voxels."""
LEAST_BYTES: Final = 2**26
"""Smallest tensor that is computed in slabs, in bytes."""
BY_VOXEL: Final = ("Add", "Divide", "Multiply", "PRelu", "Relu", "Subtract")
"""Operations on a tensor and, for all but `Relu`, on a second one that all voxels share."""


def end_in_slabs(model: Any, opset: Any) -> int:
    """Compute large tensors in slabs that a convolution of one voxel alone reads, and that it makes smaller.

    Args:
        model: `openvino.Model` of static shape, changed in place.
        opset: operation set for new nodes, such as `openvino.opset13`.

    Returns:
        Number of replaced convolutions; 0 in a quantised graph.
    """
    if is_quantised(model):
        return 0
    replaced = 0
    for node in list(model.get_ordered_ops()):
        steps = _steps_before(node) if _is_small_end(node) else []
        if not steps:
            continue
        whole = steps[0].input_value(0)
        if len(whole.get_target_inputs()) == 1:
            continue  # no sums: the steps are part of the operation that makes this tensor
        sides, about = int(whole.get_shape()[AXIS]), node.get_attributes()
        geometry = (about["strides"], about["pads_begin"], about["pads_end"], about["dilations"], about["auto_pad"])
        slabs = []
        for first, last in pairwise(sides * number // SLABS for number in range(SLABS + 1)):
            data = opset.slice(whole, *(np.array([number], np.int64) for number in (first, last, 1, AXIS)))
            for step in steps:
                data = _again(step, data, opset)
            slabs.append(opset.convolution(data, node.input_value(1), *geometry))
        together = opset.concat(slabs, AXIS)
        together.set_friendly_name(node.get_friendly_name())
        node.output(0).replace(together.output(0))
        replaced += 1
    if replaced:
        model.validate_nodes_and_infer_types()
    return replaced


def _is_small_end(node: Any) -> bool:
    """Return True for a convolution of one voxel that makes at most half of the channels of a large tensor."""
    if node.get_type_name() != "Convolution" or not is_constant(node, 1):
        return False
    about, before, after = node.get_attributes(), list(node.get_input_shape(0)), list(node.get_output_shape(0))
    return (
        set(list(node.input_value(1).get_shape())[AXIS:]) == {1}
        and set(about["strides"]) == {1}
        and not any((*about["pads_begin"], *about["pads_end"]))
        and 2 * after[CHANNELS] <= before[CHANNELS]
        and before[AXIS] >= SLABS
        and int(np.prod(before)) * int(node.get_input_element_type(0).size) >= LEAST_BYTES
    )


def _steps_before(node: Any) -> list[Any]:
    """Return the operations by voxel before a node, in order, whose results nothing else reads."""
    steps: list[Any] = []
    before = node.input_value(0).get_node()
    while before.get_type_name() in BY_VOXEL and len(before.output(0).get_target_inputs()) == 1:
        if list(before.get_input_shape(0)) != list(before.get_output_shape(0)) or not _shares_operand(before):
            break
        steps.insert(0, before)
        before = before.input_value(0).get_node()
    return steps


def _shares_operand(step: Any) -> bool:
    """Return True if all slabs of a volume read the same values of the second operand of an operation."""
    if step.get_input_size() == 1:
        return True
    sides, rank = list(step.get_input_shape(1)), len(step.get_input_shape(0))
    if step.get_type_name() == "PRelu" and len(sides) == 1:
        return True  # a slope with one axis belongs to the channels
    return bool([*[1] * (rank - len(sides)), *sides][AXIS] == 1)  # axes are aligned at the end, as in numpy


def _again(step: Any, data: Any, opset: Any) -> Any:
    """Apply an operation to other data."""
    name = {"PRelu": "prelu"}.get(step.get_type_name(), step.get_type_name().lower())
    return getattr(opset, name)(data, *(step.input_value(port) for port in range(1, step.get_input_size())))
