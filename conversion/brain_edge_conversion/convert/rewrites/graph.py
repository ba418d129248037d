"""Exact rewrites of a traced graph, in their order, with a description of each change."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from brain_edge_conversion.convert.rewrites.pointwise_upsampling import commute_pointwise_upsampling
from brain_edge_conversion.convert.rewrites.sub_pixel import make_sub_pixel

if TYPE_CHECKING:
    from collections.abc import Sequence


def rewrite_graph(model: Any, shape: Sequence[int]) -> list[str]:
    """Rewrite an OpenVINO graph from any source, in place; return one line for each kind of rewrite applied.

    Input, output and function stay the same, apart from float32 rounding.

    Args:
        model: `openvino.Model` with one input, not quantised.
        shape: shape (1, C, ...) of an input that the model accepts.
    """
    moved = commute_pointwise_upsampling(model, shape)
    interleaved = make_sub_pixel(model)
    if moved or interleaved:
        model.validate_nodes_and_infer_types()
    lines = []
    if moved:
        lines.append(f"{_count(moved, '1x1 convolution')} moved before the upsampling")
    if interleaved:
        lines.append(f"{_count(interleaved, 'transposed convolution')} made sub-pixel")
    return lines


def _count(names: Sequence[str], what: str) -> str:
    return f"{len(names)} {what}{'s' if len(names) > 1 else ''}"
