"""Transposed convolution whose kernel is a multiple of its stride, rewritten as a convolution and an interleaving.

With stride s and kernel k = m s, an output voxel o reads the inputs i with 0 <= o + p - i s < k. Written as
o + p = q s + r with 0 <= r < s, these are the m inputs q, q - 1, ..., q - m + 1, with the weights w[r], w[s + r], ...:

    y[q s + r - p] = sum over j < m of x[q - j] w[j s + r]

For each phase r this is an ordinary convolution with kernel m. All phases together are one convolution with s times
the channels per axis; its channels are then interleaved (DepthToSpace: "sub-pixel convolution", Shi et al., CVPR 2016)
and cut by the padding p. The same products are summed, so the rewrite is exact except for the order of summation.

The gain: OpenVINO's CPU plugin has an INT8 kernel for the convolution, but runs a transposed convolution with kernel 4
and stride 2 in f32, even when it is quantised (docs/decisions/0010).
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np

from brain_edge.runtime.library import operations
from brain_edge_conversion.convert.rewrites.nodes import added_bias, kind, per_channel, weights

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    Weights = npt.NDArray[np.float32]


@dataclass(frozen=True)
class AxisPlan:
    """One axis of the convolution that replaces a transposed one.

    Attributes:
        taps: side m of the kernel, in voxels of the input.
        pad_begin, pad_end: number of zeros before and after the input.
        cut_begin, cut_end: number of surplus voxels of the interleaved output at each end.
    """

    taps: int
    pad_begin: int
    pad_end: int
    cut_begin: int
    cut_end: int


def plan_axis(kernel: int, stride: int, padding: tuple[int, int], output_padding: int) -> AxisPlan | None:
    """Return the plan of one axis; None if the kernel is no multiple of the stride, or the padding exceeds the kernel.

    Args:
        kernel: side of the transposed convolution's kernel.
        stride: stride of the transposed convolution.
        padding: voxels that the transposed convolution removes at the begin and at the end.
        output_padding: voxels that the transposed convolution adds at the end.
    """
    if kernel % stride:
        return None
    taps = kernel // stride
    begin, end = padding[0], padding[1] - output_padding
    # whole steps of the stride are left out, not computed and cut; // rounds down, so an end below 0 adds a step
    pad_begin, pad_end = taps - 1 - begin // stride, taps - 1 - end // stride
    if min(pad_begin, pad_end) < 0:
        return None
    return AxisPlan(taps, pad_begin, pad_end, begin % stride, end % stride)


def sub_pixel_weights(kernel: Weights, stride: int) -> Weights:
    """Turn the weights (in, out, k, ...) of a transposed convolution into convolution weights (s^n out, in, m, ...).

    The output channels are in DepthToSpace's "blocks first" order: phase by phase, each with all channels.
    """
    spatial = range(kernel.ndim - 2)
    phases = [kernel[(slice(None), slice(None), *phase_of)] for phase_of in _phases(len(spatial), stride)]
    # a convolution in these libraries is a correlation: the first tap meets the earliest input
    flipped = [np.flip(phase, axis=tuple(axis + 2 for axis in spatial)) for phase in phases]
    return np.ascontiguousarray(np.concatenate([np.swapaxes(phase, 0, 1) for phase in flipped]))


def make_sub_pixel(model: Any) -> list[str]:
    """Rewrite every transposed convolution whose kernel is longer than its stride; return the names of those rewritten.

    For a kernel equal to the stride there is no gain: the CPU plugin has an INT8 kernel.

    Args:
        model: `openvino.Model`, changed in place.
    """
    candidates = [node for node in model.get_ordered_ops() if kind(node) == "ConvolutionBackpropData"]
    return [str(node.get_friendly_name()) for node in candidates if _rewritten(node)]


def _rewritten(node: Any) -> bool:
    kernel = weights(node)
    plans = _plans(node, kernel.shape[2:]) if kernel is not None else None
    if kernel is None or plans is None:
        return False
    ops = operations()

    stride = int(node.get_attributes()["strides"][0])
    ones = [1] * len(plans)
    begins, ends = [plan.pad_begin for plan in plans], [plan.pad_end for plan in plans]
    convolved = ops.convolution(node.input_value(0), sub_pixel_weights(kernel, stride), ones, begins, ends, ones)
    convolved.set_friendly_name(node.get_friendly_name())
    last, biased = node, convolved
    if (bias := added_bias(node)) is not None:
        last, numbers = bias
        biased = ops.add(convolved, per_channel(np.tile(numbers, stride ** len(plans)), len(plans)))
        biased.set_friendly_name(last.get_friendly_name())
    interleaved = ops.depth_to_space(biased, "blocks_first", stride)
    last.output(0).replace(_cut(interleaved, plans).output(0))
    return True


def _plans(node: Any, sides: Sequence[int]) -> list[AxisPlan] | None:
    """Return one plan per axis; None if the node cannot be rewritten or there is no gain."""
    attributes = node.get_attributes()
    strides = attributes["strides"]
    usual = set(attributes["dilations"]) == {1} and attributes["auto_pad"] in ("explicit", "notset")
    if not usual or len(set(strides)) != 1 or strides[0] == 1 or node.get_input_size() != 2:
        return None
    pads = zip(attributes["pads_begin"], attributes["pads_end"], strict=True)
    described = zip(sides, strides, pads, attributes["output_padding"], strict=True)
    plans = [plan_axis(side, stride, padding, extra) for side, stride, padding, extra in described]
    known = [plan for plan in plans if plan is not None]
    pays = len(known) == len(plans) and max(plan.taps for plan in known) > 1
    return known if pays else None


def _cut(interleaved: Any, plans: Sequence[AxisPlan]) -> Any:
    """Cut the voxels that the padding removes."""
    if not any(plan.cut_begin or plan.cut_end for plan in plans):
        return interleaved
    starts = np.array([plan.cut_begin for plan in plans], dtype=np.int64)
    # an end of 0 would mean the first voxel; the largest integer means the end of any axis
    stops = np.array([-plan.cut_end or np.iinfo(np.int64).max for plan in plans], dtype=np.int64)
    axes = np.arange(2, 2 + len(plans), dtype=np.int64)
    return operations().slice(interleaved, starts, stops, np.ones_like(starts), axes)


def _phases(axes: int, stride: int) -> list[tuple[slice, ...]]:
    """Return the kernel taps of each phase, last axis fastest."""
    return [tuple(slice(r, None, stride) for r in each) for each in product(range(stride), repeat=axes)]
