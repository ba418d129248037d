"""Scales moved between neighbouring layers: exact in float, and one range for all channels then fits each of them.

A layer's output channel is divided by a scale, and the next layer's weights for this channel are multiplied by it. The
activation between both layers must pass a positive scale on: ReLU and PReLU do. The idea is of Nagel et al., "Data-Free
Quantization Through Weight Equalization and Bias Correction", ICCV 2019; here the scales are those of activations.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from brain_edge.runtime.library import operations
from brain_edge_conversion.mending.layers import bias_of, end_of
from brain_edge_conversion.mending.watching import port_of, watched

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from brain_edge.image.volume import FloatArray

SCALED: Final = frozenset({"Relu", "PRelu"})
"""Activations f with f(s x) = s f(x) for every s above 0."""
LEAST_SCALE: Final = 1e-3
"""Least scale of a channel: a channel that is never active keeps finite weights."""


@dataclass(frozen=True)
class Pair:
    """Two convolutions with one activation between them.

    Attributes:
        first, second: convolutions.
        between: activation.
    """

    first: Any
    second: Any
    between: Any


def pairs_of(model: Any) -> Iterator[Pair]:
    """Yield the pairs of convolutions of a float model between which scales can move."""
    for first in model.get_ordered_ops():
        if first.get_type_name() != "Convolution" or not _is_constant(first, 1):
            continue
        between = _reader(end_of(first))
        second = None if between is None or between.get_type_name() not in SCALED else _reader(between.output(0))
        if second is not None and second.get_type_name() == "Convolution" and _is_constant(second, 1):
            yield Pair(first, second, between)


def equalised(model: Any, batches: Sequence[FloatArray], properties: Mapping[str, Any]) -> Any:
    """Return a copy of a float model in which the channels between two convolutions have about the same range.

    Args:
        model: float model; it is not changed.
        batches: inputs of the model.
        properties: properties of the compilation.
    """
    copy = model.clone()
    for pair in pairs_of(copy):
        ranges = _ranges(model, pair, batches, properties)
        largest = float(ranges.max())
        if largest > 0:
            _move(pair, np.maximum(ranges / largest, LEAST_SCALE).astype(np.float32))
    return copy


def _ranges(model: Any, pair: Pair, batches: Sequence[FloatArray], properties: Mapping[str, Any]) -> FloatArray:
    """Return the largest magnitude of each channel of an activation."""
    values = watched(model, [port_of(pair.between.output(0))], batches, properties)
    return np.max([np.abs(found).max(axis=(0, *range(2, found.ndim))) for (found,) in values], axis=0)


def _move(pair: Pair, scales: FloatArray) -> None:
    """Divide the outputs of the first layer by scales, and multiply the weights of the second one."""
    bias, axes = bias_of(pair.first), (1,) * (len(pair.first.input_value(1).get_shape()) - 1)
    _put(pair.first, 1, pair.first.input_value(1).get_node().data / scales.reshape(-1, *axes))
    _put(pair.second, 1, pair.second.input_value(1).get_node().data * scales.reshape(1, -1, *axes[1:]))
    if bias is not None:
        added = end_of(pair.first).get_node()
        port = 1 if _is_constant(added, 1) else 0
        _put(added, port, bias.data / scales.reshape(bias.data.shape))


def _put(node: Any, port: int, values: FloatArray) -> None:
    """Give one reader a constant of its own, under the name of the constant that it read."""
    new = operations().constant(np.asarray(values, np.float32))
    new.set_friendly_name(node.input_value(port).get_node().get_friendly_name())
    node.input(port).replace_source_output(new.output(0))


def _is_constant(node: Any, port: int) -> bool:
    return bool(node.input_value(port).get_node().get_type_name() == "Constant")


def _reader(output: Any) -> Any | None:
    """Return the only node that reads an output; None if there are several."""
    readers = list(output.get_target_inputs())
    return readers[0].get_node() if len(readers) == 1 else None
