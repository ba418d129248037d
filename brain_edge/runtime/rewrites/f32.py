"""Rewrites of a graph before it is compiled in f32: the same function, with better sums and less memory."""

from __future__ import annotations

from typing import Any

from brain_edge.runtime.rewrites.norm_sums import sum_by_axis
from brain_edge.runtime.rewrites.skip_norms import norm_before_joining
from brain_edge.runtime.rewrites.skip_sums import sum_skips
from brain_edge.runtime.rewrites.slabs import end_in_slabs
from brain_edge.runtime.rewrites.upsampled_parts import convolve_upsampled_in_parts


def rewrite_for_f32(model: Any, opset: Any) -> None:
    """Apply the rewrites for f32, to a whole graph or to the floating-point part of a quantised graph.

    Args:
        model: `openvino.Model` of static shape, changed in place.
        opset: the operation set to build with, such as `openvino.opset13`.
    """
    # rewrites that move norms come first: a norm is one node until its sums are split
    sum_skips(model, opset)
    norm_before_joining(model, opset)
    convolve_upsampled_in_parts(model, opset)
    sum_by_axis(model, opset)
    end_in_slabs(model, opset)
