"""Group norms of a skip connection before it is joined: a rewrite of a quantised graph just before it is compiled.

The plugin has no integer kernel for a group norm. After a skip connection it converts the joined bytes to floating
point, at full resolution the largest tensor of the network. It then copies that tensor into a layout with an axis for
groups. If no group has channels of both parts, a group norm gives the same result on each part. This rewrite norms and
quantises the parts separately and joins them as bytes, so that the largest floating-point tensor is one part
(docs/decisions/0024).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from brain_edge.runtime.rewrites.skip_paths import (
    CHANNELS,
    QUANTISER,
    computed_on,
    is_quantised,
    is_separable,
    is_skip,
    parts_of,
    paths_from,
)

if TYPE_CHECKING:
    from brain_edge.runtime.rewrites.skip_paths import Span


def norm_before_joining(model: Any, opset: Any) -> int:
    """Move concatenations of quantised graphs behind the group norms that read them.

    Args:
        model: `openvino.Model` of static shape, changed in place.
        opset: operation set for new nodes, such as `openvino.opset13`.

    Returns:
        Number of split group norms; 0 in a graph that is not quantised.
    """
    if not is_quantised(model):
        return 0
    moved = 0
    for node in list(model.get_ordered_ops()):
        paths = paths_from(node) if is_skip(node) else None
        if not paths:
            continue
        parts = parts_of(node)  # in channel order, as the weights expect
        made: dict[tuple[str, Span], Any] = {}
        for path in paths:
            kinds = [between.get_type_name() for between in path.between]
            ends_in_bytes = "GroupNormalization" in kinds and kinds[-1] == QUANTISER
            if not (ends_in_bytes and is_separable(path, node)):
                continue
            joined = opset.concat([computed_on(part, path.between, made, opset) for part in parts], CHANNELS)
            joined.set_friendly_name(f"{path.between[-1].get_friendly_name()}/joined")
            path.convolution.input(0).replace_source_output(joined.output(0))
            moved += 1
    if moved:
        model.validate_nodes_and_infer_types()
    return moved
