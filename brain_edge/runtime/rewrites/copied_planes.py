"""Planes that a graph copies itself, when its volume is made of thick slices: a rewrite of its input.

A volume that is resampled to nearest neighbours holds each plane of a thick slice several times. The graph takes the
planes as they are, and the plane that each of its own planes copies. Gathering them is a layer like any other: on all
threads, into memory that later layers use again. A quantised graph gathers bytes (docs/decisions/0054).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from brain_edge.runtime.rewrites.strided_stem import is_quantised_by_one_range


def copy_planes(model: Any, opset: Any) -> None:
    """Replace the input (N, C, I, J, K) of a graph by planes (N, C, I, J, k) of any k, and K indices of them (int32).

    An input of open shape is also not filled with zeros when the graph is compiled, as the plugin fills all others.

    Args:
        model: `openvino.Model` of static shape with one input, changed in place.
        opset: operation set for new nodes, such as `openvino.opset13`.
    """
    (whole,) = model.get_parameters()
    *rest, depth = whole.output(0).get_shape()
    planes, copied = opset.parameter([*rest, -1], np.float32), opset.parameter([depth], np.int32)
    data, full = planes.output(0), whole.output(0)
    readers = list(full.get_target_inputs())
    if len(readers) == 1 and is_quantised_by_one_range(quantiser := readers[0].get_node()):
        ranges = [quantiser.input_value(number) for number in range(1, 5)]
        data = opset.fake_quantize(planes, *ranges, quantiser.get_attributes()["levels"]).output(0)
        readers = list(quantiser.output(0).get_target_inputs())
    gathered = opset.gather(data, copied, np.int64(len(rest)))
    for reader in readers:
        reader.replace_source_output(gathered.output(0))
    model.add_parameters([planes, copied])
    model.remove_parameter(whole)
    model.validate_nodes_and_infer_types()
