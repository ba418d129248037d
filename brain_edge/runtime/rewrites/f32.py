"""What is done to a graph before it is compiled in f32: the same function, summed better and in less memory."""

from __future__ import annotations

from typing import Any

from brain_edge.runtime.rewrites.norm_sums import sum_by_axis
from brain_edge.runtime.rewrites.skip_norms import norm_before_joining
from brain_edge.runtime.rewrites.skip_sums import sum_skips


def rewrite_for_f32(model: Any, opset: Any) -> None:
    """Apply the rewrites that f32 wants, of a whole graph or of what a quantised one has left in floating point.

    Args:
        model: `openvino.Model` of static shape, changed in place.
        opset: the operation set to build with, such as `openvino.opset13`.
    """
    # first what moves norms: each is one node until its sums are taken apart
    sum_skips(model, opset)
    norm_before_joining(model, opset)
    sum_by_axis(model, opset)
