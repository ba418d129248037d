"""Values inside of a graph for some inputs; only what they depend on is computed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from brain_edge.bench.operations import compile_model
from brain_edge.runtime.library import import_openvino, operations

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from brain_edge.image.volume import FloatArray

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


def watched_from(
    model: Any, source: Port, end: Port, values: Sequence[FloatArray], properties: Mapping[str, Any]
) -> Iterator[FloatArray]:
    """Yield the values of a port for values of another port before it; only what lies between them is computed."""
    shape: tuple[int, ...] = ()
    for each in values:
        if each.shape != shape:
            shape = each.shape
            request = _between(model, source, end, shape, properties).create_infer_request()
        yield np.array(request.infer({0: each})[0])


def _between(model: Any, source: Port, end: Port, shape: Sequence[int], properties: Mapping[str, Any]) -> Any:
    copy = model.clone()
    nodes = {node.get_friendly_name(): node for node in copy.get_ordered_ops()}
    parameter = operations().parameter(list(shape), np.float32)
    for reader in nodes[source[0]].output(source[1]).get_target_inputs():
        reader.replace_source_output(parameter.output(0))
    result = operations().result(nodes[end[0]].output(end[1]))
    return compile_model(import_openvino().Model([result], [parameter], "between"), properties)
