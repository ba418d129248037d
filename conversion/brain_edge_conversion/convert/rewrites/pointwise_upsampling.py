"""Move of a 1x1 convolution before the upsampling that it reads, where it runs on a fraction of the voxels.

Interpolation is linear and acts on each channel separately; a convolution of kernel 1 is linear and acts on each voxel
separately. The two therefore commute. A bias commutes too, because the weights of an interpolation sum to one, even at
the border. In exact arithmetic both orders are the same function; in f32 they differ by rounding.

The rewrite works on OpenVINO's graph (docs/decisions/0009), where the pair looks the same for every source framework.
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
"""Index of the first spatial axis in (N, C, ...)."""

COPIED: Final = (
    "mode",
    "shape_calculation_mode",
    "coordinate_transformation_mode",
    "nearest_mode",
    "antialias",
    "cube_coeff",
)
"""Allowed attributes of Interpolate, versions 4 and 11."""


def commute_pointwise_upsampling(model: Any, shape: Sequence[int]) -> list[str]:
    """Move a 1x1 convolution before an upsampling if it is the only reader and does not increase the channels.

    Args:
        model: `openvino.Model` with one input, changed in place.
        shape: shape of an input (1, C, ...), to tell upsampling from downsampling if a graph states only sizes.

    Returns:
        The names of the moved convolutions.
    """
    candidates = [node for node in model.get_ordered_ops() if _is_plain_interpolation(node)]
    if not candidates:
        return []
    sized = sized_copy(model, shape)
    moved = [_commuted(node) for node in candidates if _enlarges(node, sized)]
    return [name for name in moved if name is not None]


def _is_plain_interpolation(node: Any) -> bool:
    """Return True for an unpadded interpolation over known spatial axes: weights sum to one, channels stay apart."""
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
    """Move the convolution that reads an upsampled tensor before the upsampling; return its name, or None."""
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
    """Return the weights (out, in, 1, ...) of a 1x1 convolution with out <= in; None for any other node."""
    if kind(node) != "Convolution" or (kernel := weights(node)) is None:
        return None
    attributes = node.get_attributes()
    plain = set(attributes["strides"]) == {1} and not any((*attributes["pads_begin"], *attributes["pads_end"]))
    narrow = kernel.shape[0] <= kernel.shape[1]
    return kernel if plain and narrow and prod(kernel.shape[2:]) == 1 else None
