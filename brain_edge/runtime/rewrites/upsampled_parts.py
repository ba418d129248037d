"""Upsampled tensors by channels: a rewrite of a graph just before it is compiled in f32.

A decoder upsamples all channels of a level and convolves them. At full resolution the upsampled tensor is among the
largest of the network. Interpolation treats every channel separately, and a convolution is linear in its channels.
Both can therefore be done for some channels at a time, and OpenVINO adds each further convolution in place. The result
is equal up to rounding (docs/decisions/0051).
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any, Final

import numpy as np

from brain_edge.runtime.rewrites.skip_paths import CHANNELS, Part, Path, constant_of, is_constant, is_quantised
from brain_edge.runtime.rewrites.skip_sums import replace_by_sum

PARTS: Final = 4
"""Number of parts; each must be smaller than the result of the convolution, or the plugin may waste its place."""
INPUTS: Final = 3
"""Number of inputs of an interpolation: data, sizes or factors, and axes."""
AXES: Final = 2
"""Input with the axes of an interpolation."""
LEAST_BYTES: Final = 2**26
"""Smallest upsampled tensor that is made in parts, in bytes; more convolutions cost time."""


def convolve_upsampled_in_parts(model: Any, opset: Any) -> int:
    """Replace convolutions of a large upsampled tensor by sums over parts of its channels.

    Args:
        model: `openvino.Model` of static shape, changed in place.
        opset: operation set for new nodes, such as `openvino.opset13`.

    Returns:
        Number of replaced convolutions; 0 in a quantised graph.
    """
    if is_quantised(model):
        return 0
    found = [node for node in model.get_ordered_ops() if _is_upsampled(node)]
    for node in found:
        upsampled = node.input_value(0).get_node()
        channels = int(upsampled.get_output_shape(0)[CHANNELS])
        limits = [channels * number // PARTS for number in range(PARTS + 1)]
        spans = list(pairwise(limits))
        lengths = np.array([last - first for first, last in spans], np.int64)
        cut = opset.variadic_split(upsampled.input_value(0), np.int64(CHANNELS), lengths)
        parts = [Part(_interpolated(upsampled, cut.output(number), opset), span) for number, span in enumerate(spans)]
        replace_by_sum(Path((), node), parts, {}, opset)
    if found:
        model.validate_nodes_and_infer_types()
    return len(found)


def _is_upsampled(node: Any) -> bool:
    """Return True for a convolution that alone reads a large tensor, which an interpolation of its voxels made."""
    if node.get_type_name() != "Convolution" or not is_constant(node, 1):
        return False
    made = node.input_value(0).get_node()
    if made.get_type_name() != "Interpolate" or made.get_input_size() != INPUTS or not is_constant(made, AXES):
        return False
    sides = list(made.get_output_shape(0))
    return (
        len(made.output(0).get_target_inputs()) == 1
        and all(axis % len(sides) > CHANNELS for axis in constant_of(made, AXES).ravel())
        and sides[CHANNELS] >= PARTS
        and int(np.prod(sides)) * int(made.get_output_element_type(0).size) >= LEAST_BYTES
    )


def _interpolated(node: Any, data: Any, opset: Any) -> Any:
    """Return the same interpolation of other channels."""
    about = node.get_attributes()
    names = ("mode", "shape_calculation_mode", "coordinate_transformation_mode", "nearest_mode", "antialias")
    settings = {name: about[name] for name in (*names, "pads_begin", "pads_end", "cube_coeff")}
    return opset.interpolate(data, node.input_value(1), axes=node.input_value(AXES), **settings)
