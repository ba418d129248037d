"""Skip connections without concatenation: a rewrite of a graph just before it is compiled in f32.

A U-Net joins upsampled and stored features and convolves both. At full resolution the joined tensor is the largest of
the network, and it is a copy of two existing tensors. A convolution is linear in its channels. The convolution of the
joined tensor is therefore the sum of one convolution per part, with its share of the weights, and OpenVINO adds the
second one in place. The nodes in between (norms by channel or group, activations) give the same result on each part.
The result is equal up to rounding, with the same number of operations, and the peak memory of a decoder falls by the
joined tensor (docs/decisions/0024, benchmarks/skip_sums.py). Quantised graphs stay unchanged: the parts would be added
in floating point, four times as large as the joined bytes; see `skip_norms`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from brain_edge.runtime.rewrites.skip_paths import (
    computed_on,
    constant_of,
    is_constant,
    is_quantised,
    is_separable,
    is_skip,
    parts_of,
    paths_from,
)

if TYPE_CHECKING:
    from brain_edge.runtime.rewrites.skip_paths import Part, Path, Span


def sum_skips(model: Any, opset: Any) -> int:
    """Replace convolutions of two joined results by sums of two convolutions.

    Args:
        model: `openvino.Model` of static shape, changed in place.
        opset: operation set for new nodes, such as `openvino.opset13`.

    Returns:
        Number of replaced convolutions; 0 in a quantised graph.
    """
    if is_quantised(model):
        return 0
    replaced = 0
    for node in list(model.get_ordered_ops()):
        if not is_skip(node):
            continue
        paths = paths_from(node)
        if not paths or not all(is_separable(path, node) and is_constant(path.convolution, 1) for path in paths):
            continue  # if one reader needs the joined tensor, it exists anyway
        if sum(_bytes(path.convolution.input(1)) for path in paths) > _bytes(node.output(0)):
            continue  # deep in a wide network the weights, whose shares are copies, are larger than the joined tensor
        # the part that is computed last comes first: it is used at once, and the other part already exists
        position = {each.get_friendly_name(): number for number, each in enumerate(model.get_ordered_ops())}
        parts = sorted(parts_of(node), key=lambda part: -position[part.data.get_node().get_friendly_name()])
        made: dict[tuple[str, Span], Any] = {}
        for path in paths:
            replace_by_sum(path, parts, made, opset)
        replaced += len(paths)
    if replaced:
        model.validate_nodes_and_infer_types()
    return replaced


def _bytes(port: Any) -> int:
    """Return the size in bytes of an input or output of static shape."""
    return int(np.prod(list(port.get_shape()))) * int(port.get_element_type().size)


def replace_by_sum(path: Path, parts: list[Part], made: dict[tuple[str, Span], Any], opset: Any) -> None:
    """Replace a convolution by the sum over parts of its channels.

    Args:
        path: convolution, and the nodes before it, which are applied to each part.
        parts: parts in the order of their computation.
        made: nodes that other paths share, changed in place.
        opset: operation set for new nodes.
    """
    node = path.convolution
    weights, about = constant_of(node, 1), node.get_attributes()
    terms = []
    for number, part in enumerate(parts):
        data = computed_on(part, path.between, made, opset)
        first, last = part.span
        share = np.ascontiguousarray(weights[:, first:last])
        geometry = (about["strides"], about["pads_begin"], about["pads_end"], about["dilations"], about["auto_pad"])
        term = opset.convolution(data, share, *geometry)
        term.set_friendly_name(f"{node.get_friendly_name()}/part{number}")
        terms.append(term)
    total = terms[0]
    for term in terms[1:]:
        total = opset.add(total, term)
    total.set_friendly_name(node.get_friendly_name())
    node.output(0).replace(total.output(0))
