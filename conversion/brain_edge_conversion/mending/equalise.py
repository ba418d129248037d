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
SHARES: Final = (1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.25, 0.2, 0.15, 0.1)
"""Shares of a channel's largest value that are tried as its range."""
LEVELS: Final = 255
"""Number of steps of 8 bits."""
POWERS: Final = (0.25, 0.5, 0.625, 0.75, 0.875, 1.0)
"""Powers of the ranges in a scale that are tried; 1 evens out the ranges alone."""
LEFT_BY_FIT: Final = 0.25
"""Share of the squared error of rounded weights that a fit leaves."""
SAMPLED: Final = 2**16
"""Number of values of each channel and input on which its range is chosen."""


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
        channels = _channels(model, pair, batches, properties)
        if channels.ranges.max() > 0:
            _move(pair, best_scales(channels, pair.second.input_value(1).get_node().data))
    return copy


@dataclass(frozen=True)
class Channels:
    """Channels of an activation.

    Attributes:
        ranges: range of each channel at which clipping and rounding cost least.
        variances: variance of each channel.
    """

    ranges: FloatArray
    variances: FloatArray


def best_scales(channels: Channels, weights: FloatArray) -> FloatArray:
    """Return the scales of the channels with the least error of rounding, of the activation and of the next weights.

    A scale that evens out the channels' ranges makes the weights of the next layer uneven. The scales lie between both:
    one power of the ranges, the other power of the weights.

    Args:
        channels: channels of the activation.
        weights: weights of the next layer, (outputs, channels, *kernel).
    """
    largest = np.abs(np.moveaxis(weights, 1, 0)).reshape(weights.shape[1], -1).max(axis=1)
    ranges, peaks = (np.maximum(each, LEAST_SCALE * each.max()) for each in (channels.ranges, largest))
    tried = [_normed(ranges**power / peaks ** (1 - power)) for power in POWERS] + [np.ones_like(ranges)]
    return np.asarray(tried[int(np.argmin([_cost(scales, channels, weights) for scales in tried]))])


def _normed(scales: FloatArray) -> FloatArray:
    return np.asarray(scales / scales.max(), np.float32)


def _cost(scales: FloatArray, channels: Channels, weights: FloatArray) -> float:
    """Return the squared error of an output, up to a factor, if every value is rounded for itself."""
    by_channel = np.moveaxis(weights, 1, 0).reshape(weights.shape[1], weights.shape[0], -1)
    step = float(np.max(channels.ranges / scales)) / LEVELS
    steps = np.abs(by_channel * scales[:, np.newaxis, np.newaxis]).max(axis=(0, 2)) / (LEVELS // 2)
    of_activation = float(np.sum((step * scales) ** 2 * np.sum(by_channel**2, axis=(1, 2))))
    of_weights = float(np.sum(steps**2) * by_channel.shape[2] * np.sum(channels.variances / scales**2))
    return of_activation + LEFT_BY_FIT * of_weights


def _channels(model: Any, pair: Pair, batches: Sequence[FloatArray], properties: Mapping[str, Any]) -> Channels:
    """Return range and variance of each channel of an activation."""
    values = watched(model, [port_of(pair.between.output(0))], batches, properties)
    found = [np.moveaxis(each, 1, 0).reshape(each.shape[1], -1) for (each,) in values]
    sampled = np.concatenate([each[:, :: max(1, each.shape[1] // SAMPLED)] for each in found], axis=1)
    largest = np.max([np.abs(each).max(axis=1) for each in found], axis=0)
    return Channels(least_costly(np.abs(sampled), largest), sampled.var(axis=1))


def least_costly(values: FloatArray, largest: FloatArray) -> FloatArray:
    """Return for each channel the range at which clipping and rounding together have the least squared error.

    Args:
        values: magnitudes of each channel, (channels, samples).
        largest: largest magnitude of each channel.
    """
    ranges = np.array([largest * share for share in SHARES], np.float32)
    costs = []
    for limit in ranges[..., np.newaxis]:
        steps = np.maximum(limit / LEVELS, np.finfo(np.float32).tiny)
        costs.append(np.mean(np.square(np.minimum(np.rint(values / steps), LEVELS) * steps - values), axis=1))
    return np.asarray(ranges[np.argmin(costs, axis=0), np.arange(len(largest))])


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
