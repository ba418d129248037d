"""The exact rewrites of a traced graph, in their order, and what they did in words."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from brain_edge_conversion.convert.rewrites.pointwise_upsampling import commute_pointwise_upsampling
from brain_edge_conversion.convert.rewrites.sub_pixel import make_sub_pixel

if TYPE_CHECKING:
    from collections.abc import Sequence


def rewrite_graph(model: Any, shape: Sequence[int]) -> list[str]:
    """Rewrite an OpenVINO graph, whatever it was made from, in place; one line for each kind of rewrite applied.

    The function stays the same but for the rounding of float32, and so do input and output.

    Args:
        model: `openvino.Model` with one input, not quantised.
        shape: of an input (1, C, ...) that it accepts.
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
