"""Values inside of a graph for some inputs; only what they depend on is computed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from brain_edge.bench.operations import compile_model
from brain_edge.runtime.library import import_openvino, operations

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from brain_edge.image.volume import FloatArray
    from brain_edge_conversion.mending.windows import Positions

    Port = tuple[str, int]
    """Name of a node, and number of one of its outputs."""


def watched(
    model: Any, ports: Sequence[Port], batches: Iterable[FloatArray], properties: Mapping[str, Any]
) -> Iterator[list[FloatArray]]:
    """Yield the values of some ports of a model for each batch.

    Args:
        model: model with one input; it is not changed.
        ports: outputs of nodes.
        batches: inputs of the model, taken one at a time; the graph is compiled again when the shape changes.
        properties: properties of the compilation.
    """
    shape: tuple[int, ...] = ()
    for batch in batches:
        if batch.shape != shape:
            shape = batch.shape
            request = _compiled(model, ports, shape, properties).create_infer_request()
        found = request.infer({0: batch})
        yield [np.array(found[place]) for place in range(len(ports))]


def port_of(output: Any) -> Port:
    """Return the name by which an output of a node is found in a copy of its model."""
    return output.get_node().get_friendly_name(), output.get_index()


def sized(model: Any, shape: Sequence[int]) -> Any:
    """Return a copy of a model for inputs of one shape."""
    copy = model.clone()
    copy.reshape(list(shape))
    return copy


def _compiled(model: Any, ports: Sequence[Port], shape: Sequence[int], properties: Mapping[str, Any]) -> Any:
    copy = sized(model, shape)
    nodes = {node.get_friendly_name(): node for node in copy.get_ordered_ops()}
    results = [operations().result(nodes[name].output(number)) for name, number in ports]
    return compile_model(import_openvino().Model(results, copy.get_parameters(), "watched"), properties)


class Pick(NamedTuple):
    """Output of a node, of which the values at some places are wanted."""

    port: Port
    channels_last: bool
    """True if the channels are the last axis, False if they are the second one."""


def picked(
    model: Any,
    picks: Sequence[Pick],
    batches: Iterable[FloatArray],
    places: Iterable[Sequence[Positions]],
    properties: Mapping[str, Any],
) -> Iterator[list[FloatArray]]:
    """Yield the values (places, channels) of some ports at some places for each batch.

    The graph itself picks them, so that no whole value leaves it, and what it no longer needs is free at once.

    Args:
        model: model with one input; it is not changed.
        picks: outputs of nodes.
        batches: inputs of the model, taken one at a time; the graph is compiled again when the shape changes.
        places: for each batch the flat places in all axes but the channels, for each pick.
        properties: properties of the compilation.
    """
    shape: tuple[int, ...] = ()
    for batch, wanted in zip(batches, places, strict=True):
        if batch.shape != shape:
            shape = batch.shape
            request = _picking(model, picks, shape, properties).create_infer_request()
        found = request.infer(dict(enumerate((batch, *wanted))))
        yield [
            np.array(found[place]) if pick.channels_last else np.ascontiguousarray(np.transpose(found[place]))
            for place, pick in enumerate(picks)
        ]


def _picking(model: Any, picks: Sequence[Pick], shape: Sequence[int], properties: Mapping[str, Any]) -> Any:
    copy = sized(model, shape)
    nodes = {node.get_friendly_name(): node for node in copy.get_ordered_ops()}
    indices = [operations().parameter([-1], np.int64) for _ in picks]
    results = [
        _at(nodes[pick.port[0]].output(pick.port[1]), index, channels_last=pick.channels_last)
        for pick, index in zip(picks, indices, strict=True)
    ]
    return compile_model(import_openvino().Model(results, [*copy.get_parameters(), *indices], "picked"), properties)


def _at(output: Any, index: Any, *, channels_last: bool) -> Any:
    """Return a node of the values at flat places, (places, channels) or (channels, places)."""
    opset, sides = operations(), list(output.get_shape())
    if channels_last:
        return opset.result(opset.gather(opset.reshape(output, [-1, sides[-1]], False), index, 0))
    if sides[0] > 1:
        output = opset.transpose(output, [1, 0, *range(2, len(sides))])
    return opset.result(opset.gather(opset.reshape(output, [sides[1], -1], False), index, 1))
