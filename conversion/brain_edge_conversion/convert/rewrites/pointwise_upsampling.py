"""A 1x1 convolution after an upsampling is the upsampling of that convolution, on a fraction of the voxels.

Interpolation acts on each channel alone and is linear; a convolution of kernel 1 acts on each voxel alone and is
linear: they commute. A bias commutes as well, because the weights of an interpolation sum to one, at the border too.
In exact arithmetic the two orders are the same function; in f32 they differ by rounding.

The rewrite is done in OpenVINO's graph (docs/decisions/0009): whatever a network was written in, the pair looks
the same there.
"""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING, Any, Final

from brain_edge.runtime.library import operations
from brain_edge_conversion.convert.rewrites.nodes import (
    added_bias,
    constant,
    kind,
    only_consumer,
    per_channel,
    producer,
    sized_copy,
    weights,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np

FIRST_SPATIAL_AXIS: Final = 2
"""Of (N, C, ...)."""

COPIED: Final = (
    "mode",
    "shape_calculation_mode",
    "coordinate_transformation_mode",
    "nearest_mode",
    "antialias",
    "cube_coeff",
)
"""Attributes of Interpolate, versions 4 and 11."""


def commute_pointwise_upsampling(model: Any, shape: Sequence[int]) -> list[str]:
    """Convolve before upsampling wherever a 1x1 convolution alone reads an upsampled tensor and does not widen it.

    Args:
        model: `openvino.Model` with one input, changed in place.
        shape: of an input (1, C, ...), by which upsampling is told from downsampling where a graph gives only sizes.

    Returns:
        The names of the convolutions that were moved.
    """
    candidates = [node for node in model.get_ordered_ops() if _is_plain_interpolation(node)]
    if not candidates:
        return []
    sized = sized_copy(model, shape)
    moved = [_commuted(node) for node in candidates if _enlarges(node, sized)]
    return [name for name in moved if name is not None]


def _is_plain_interpolation(node: Any) -> bool:
    """Over spatial axes that are known, without padding: its weights sum to one and no channel sees another."""
    if kind(node) != "Interpolate" or node.get_input_size() != 3:
        return False
    attributes = node.get_attributes()
    # the first version of the operation has other attributes
    if not set(COPIED) <= set(attributes) or any((*attributes["pads_begin"], *attributes["pads_end"])):
        return False
    axes = constant(producer(node, 2))
    return axes is not None and bool((axes >= FIRST_SPATIAL_AXIS).all())


def _enlarges(node: Any, sized: Mapping[str, Any]) -> bool:
    twin = sized.get(node.get_friendly_name())
    if twin is None:
        return False
    before, after = twin.get_input_partial_shape(0), twin.get_output_partial_shape(0)
    return bool(before.is_static and after.is_static) and prod(after.to_shape()) > prod(before.to_shape())


def _commuted(upsampling: Any) -> str | None:
    """Move the convolution that reads an upsampled tensor before it; its name, or None where there is none."""
    convolution = only_consumer(upsampling)
    kernel = _pointwise_weights(convolution) if convolution is not None else None
    if convolution is None or kernel is None:
        return None
    ops = operations()

    ones = [1] * (kernel.ndim - 2)
    first = ops.convolution(upsampling.input_value(0), kernel, ones, [0 for _ in ones], [0 for _ in ones], ones)
    first.set_friendly_name(convolution.get_friendly_name())
    last, biased = convolution, first
    if (bias := added_bias(convolution)) is not None:
        last, numbers = bias
        biased = ops.add(first, per_channel(numbers, len(ones)))
        biased.set_friendly_name(last.get_friendly_name())
    attributes = upsampling.get_attributes()
    sizes, axes = upsampling.input_value(1), upsampling.input_value(2)
    enlarged = ops.interpolate(biased, sizes, axes=axes, **{name: attributes[name] for name in COPIED})
    enlarged.set_friendly_name(upsampling.get_friendly_name())
    last.output(0).replace(enlarged.output(0))
    return str(first.get_friendly_name())


def _pointwise_weights(node: Any) -> np.ndarray[Any, np.dtype[np.float32]] | None:
    """(channels out, channels in, 1, ...) of a convolution of kernel 1 that does not widen; None for other nodes."""
    if kind(node) != "Convolution" or (kernel := weights(node)) is None:
        return None
    attributes = node.get_attributes()
    plain = set(attributes["strides"]) == {1} and not any((*attributes["pads_begin"], *attributes["pads_end"]))
    narrow = kernel.shape[0] <= kernel.shape[1]
    return kernel if plain and narrow and prod(kernel.shape[2:]) == 1 else None
