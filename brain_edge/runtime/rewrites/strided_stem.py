"""Strided stem of a quantised graph as a convolution of stride 1 on the phases of its image.

OpenVINO's integer kernels read input channels in groups of four. A stem on one channel therefore multiplies three zeros
for each number. With stride 2, the image splits exactly into eight phases, which are eight channels of half the side. A
kernel of side 7 becomes one of side 4 on these channels: 512 products for an output instead of 4 x 343 (decision 0049).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np

from brain_edge.runtime.rewrites.skip_paths import QUANTISER

if TYPE_CHECKING:
    from collections.abc import Sequence

    from brain_edge.image.volume import FloatArray

STRIDE: Final = 2
LEAST_SIDE: Final = 5
"""Smallest side of a kernel; a kernel of 3 voxels has too few products to pay for the phases."""
MOST_WEIGHT: Final = 64
"""Largest weight with which two products fit into 16 bits, where CPUs without VNNI add the products of two channels."""
SPATIAL: Final = slice(2, None)


class Phases(NamedTuple):
    """Convolution of stride 1 on the phases of an image.

    Attributes:
        weights: weights (O, 8, i, j, k) of the type that was given.
        pads_begin: voxels of padding before each axis.
        pads_end: voxels of padding after each axis; a negative number means that this is not possible.
    """

    weights: FloatArray
    pads_begin: tuple[int, ...]
    pads_end: tuple[int, ...]


def split_stem(model: Any, opset: Any) -> int:
    """Replace strided convolutions of one quantised channel.

    Args:
        model: `openvino.Model` of static shape, changed in place.
        opset: operation set for new nodes, such as `openvino.opset13`.

    Returns:
        Number of replaced convolutions; 0 in a graph that is not quantised.
    """
    replaced = [node for node in model.get_ordered_ops() if is_strided_stem(node) and _split(node, opset)]
    if replaced:
        model.validate_nodes_and_infer_types()
    return len(replaced)


def is_strided_stem(node: Any) -> bool:
    """Return True for a convolution of stride 2 on one channel in bytes, with weights in bytes and even sides."""
    if node.get_type_name() != "Convolution":
        return False
    about, data, weights = node.get_attributes(), node.input_value(0), node.input_value(1)
    sides, kernel = list(data.get_shape())[1:], list(weights.get_shape())[SPATIAL]
    return (
        list(about["strides"]) == [STRIDE] * 3
        and set(about["dilations"]) == {1}
        and about["auto_pad"] == "explicit"
        and sides[0] == 1
        and not any(side % STRIDE for side in sides[1:])
        and min(kernel) >= LEAST_SIDE
        and is_quantised_by_one_range(data.get_node())
        and _bytes_of(weights.get_node()) is not None
    )


def phases_of(weights: FloatArray, pads_begin: Sequence[int], sides: Sequence[int], target: Sequence[int]) -> Phases:
    """Return the convolution on the phases of an image; it gives the same sums.

    Voxel `2 o + k - pad` of the image is voxel `o + (k - pad) // 2` of its phase `(k - pad) % 2`.

    Args:
        weights: weights (O, 1, i, j, k).
        pads_begin: voxels of padding before each axis of the image.
        sides: sides of the image, even.
        target: sides of the output.
    """
    shifts = [np.arange(side) - pad for side, pad in zip(weights.shape[SPATIAL], pads_begin, strict=True)]
    lowest = [int(shift[0]) // STRIDE for shift in shifts]
    taps = [int(shift[-1]) // STRIDE - low + 1 for shift, low in zip(shifts, lowest, strict=True)]
    split = np.zeros((weights.shape[0], *[STRIDE] * 3, *taps), dtype=weights.dtype)
    phase = np.ix_(*(shift % STRIDE for shift in shifts))
    tap = np.ix_(*(shift // STRIDE - low for shift, low in zip(shifts, lowest, strict=True)))
    place: tuple[Any, ...] = (slice(None), *phase, *tap)
    split[place] = weights[:, 0]
    ends = (
        wanted - side // STRIDE + low + count - 1
        for wanted, side, low, count in zip(target, sides, lowest, taps, strict=True)
    )
    return Phases(split.reshape(weights.shape[0], STRIDE**3, *taps), tuple(-low for low in lowest), tuple(ends))


def _split(node: Any, opset: Any) -> bool:
    quantiser, scaled = node.input_value(0).get_node(), node.input_value(1).get_node()
    about = node.get_attributes()
    sides, target = (list(port.get_shape())[SPATIAL] for port in (quantiser.output(0), node.output(0)))
    found = phases_of(_bytes_of(scaled), about["pads_begin"], sides, target)
    if min(*found.pads_begin, *found.pads_end) < 0:
        return False
    # behind a `space_to_depth` of bytes the plugin would compute in floating point, behind a transpose it does not
    halves = [number for side in sides for number in (side // STRIDE, STRIDE)]
    split = opset.reshape(quantiser.output(0), np.array([1, *halves], np.int64), False)
    phases = opset.transpose(split, np.array([0, 2, 4, 6, 1, 3, 5], np.int64))
    data = opset.reshape(phases, np.array([1, STRIDE**3, *halves[::STRIDE]], np.int64), False)
    weights = opset.multiply(opset.convert(opset.constant(found.weights), "f32"), scaled.input_value(1))
    ones = [1, 1, 1]
    convolution = opset.convolution(data, weights, ones, list(found.pads_begin), list(found.pads_end), ones)
    convolution.set_friendly_name(node.get_friendly_name())
    node.output(0).replace(convolution.output(0))
    return True


def is_quantised_by_one_range(node: Any) -> bool:
    """Return True for a quantiser with one range for all channels."""
    if node.get_type_name() != QUANTISER:
        return False
    ranges = [node.input_value(number) for number in range(1, 5)]
    return all(np.prod(list(port.get_shape())) == 1 for port in ranges)


def _bytes_of(node: Any) -> Any:
    """Return the weights behind `bytes -> Convert -> Multiply(scale)`; None for another source or larger weights."""
    if node.get_type_name() != "Multiply":
        return None
    convert, scale = (node.input_value(number).get_node() for number in (0, 1))
    if convert.get_type_name() != "Convert" or scale.get_type_name() != "Constant":
        return None
    constant = convert.input_value(0).get_node()
    if constant.get_type_name() != "Constant" or constant.get_element_type().get_type_name() != "i8":
        return None
    weights = np.array(constant.get_data())
    return weights if np.abs(weights.astype(np.int16)).max() <= MOST_WEIGHT else None
