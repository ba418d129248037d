"""Error of INT8 layer by layer: each layer quantised alone in the float graph, and all of them together."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from brain_edge.bench.operations import value_of
from brain_edge.runtime.library import operations
from brain_edge.spec import Value
from brain_edge_conversion.mending.layers import Quantiser, end_of, int8_layers
from brain_edge_conversion.mending.relative import relative
from brain_edge_conversion.mending.watching import port_of, watched

if TYPE_CHECKING:
    from collections.abc import Sequence

    from brain_edge.image.volume import FloatArray
    from brain_edge_conversion.mending.graphs import Graphs
    from brain_edge_conversion.mending.layers import Int8Layer


class Blame(Value, frozen=True, kw_only=True):
    """Errors of one quantised layer; each is relative: root mean square of the error / that of the float output.

    Attributes:
        layer: name of the layer.
        kind: operation type.
        low, high: range of the quantised input; None if each channel has a range of its own.
        narrowest_channel: smallest range of a channel of the float input, as a share of the largest one.
        clipped_share: share of the input's values outside of the range; None if each channel has a range of its own.
        weights_alone: error of the network's output with the weights of this layer quantised, and nothing else.
        input_alone: error of the network's output with the input of this layer quantised, and nothing else.
        alone: error of the network's output with both.
        changed_alone: share of voxels with another label then; None for an output of one channel.
        so_far: error of this layer's output with all layers quantised, in the arithmetic of this CPU.
    """

    layer: str
    kind: str
    low: float | None
    high: float | None
    narrowest_channel: float
    clipped_share: float | None
    weights_alone: float
    input_alone: float
    alone: float
    changed_alone: float | None
    so_far: float


class GraphBlame(Value, frozen=True, kw_only=True):
    """Errors of one quantised graph.

    Attributes:
        graph: name of the graph.
        error: relative error of the network's output with all layers quantised.
        changed: share of voxels with another label then; None for an output of one channel.
        layers: errors of each layer, in the order of the graph.
    """

    graph: str
    error: float
    changed: float | None
    layers: tuple[Blame, ...]


def blame(name: str, graphs: Graphs) -> GraphBlame:
    """Return where the error of a quantised graph arises.

    Args:
        name: name of the graph.
        graphs: quantised and float graph, and inputs.
    """
    wanted = _outputs(graphs, graphs.original)
    got = _outputs(graphs, graphs.quantised)
    layers = tuple(_blame(layer, graphs, wanted) for layer in int8_layers(graphs.quantised))
    return GraphBlame(graph=name, error=relative(got, wanted), changed=_changed(got, wanted), layers=layers)


def _blame(layer: Int8Layer, graphs: Graphs, wanted: Sequence[FloatArray]) -> Blame:
    published = _node(graphs.original, layer.name)
    entrance, end = port_of(published.input_value(0)), port_of(end_of(published))
    inputs, ends = zip(*watched(graphs.original, [entrance, end], graphs.batches, graphs.properties), strict=True)
    read = [found for (found,) in watched(graphs.quantised, [port_of(layer.source)], graphs.batches, graphs.properties)]
    quantiser = layer.quantiser
    alone = _outputs(graphs, _with_one(graphs, layer, weights=True, entrance=True))
    return Blame(
        layer=layer.name,
        kind=layer.node.get_type_name(),
        low=None if quantiser is None else quantiser.low,
        high=None if quantiser is None else quantiser.high,
        narrowest_channel=_narrowest(inputs, layer.node.get_type_name()),
        clipped_share=None if quantiser is None else _clipped(quantiser, read),
        weights_alone=relative(_outputs(graphs, _with_one(graphs, layer, weights=True)), wanted),
        input_alone=relative(_outputs(graphs, _with_one(graphs, layer, entrance=True)), wanted),
        alone=relative(alone, wanted),
        changed_alone=_changed(alone, wanted),
        so_far=relative(_end(layer, graphs), ends),
    )


def _with_one(graphs: Graphs, layer: Int8Layer, *, weights: bool = False, entrance: bool = False) -> Any:
    """Return a copy of the float graph with one layer's weights or input as in the quantised graph."""
    copy = graphs.original.clone()
    node = _node(copy, layer.name)
    if weights:
        node.input(1).replace_source_output(operations().constant(value_of(layer.node.input_value(1))).output(0))
    found = layer.node.input_value(0).get_node()
    if entrance and found.get_type_name() == "FakeQuantize":
        ends = [operations().constant(found.input_value(port).get_node().data) for port in range(1, 5)]
        levels = found.get_attributes()["levels"]
        rounded = operations().fake_quantize(node.input_value(0), *ends, levels)
        node.input(0).replace_source_output(rounded.output(0))
    copy.validate_nodes_and_infer_types()
    return copy


def _outputs(graphs: Graphs, model: Any) -> list[FloatArray]:
    port = port_of(model.get_results()[0].input_value(0))
    return [found for (found,) in watched(model, [port], graphs.batches, graphs.properties)]


def _end(layer: Int8Layer, graphs: Graphs) -> list[FloatArray]:
    port = port_of(layer.end)
    return [found for (found,) in watched(graphs.quantised, [port], graphs.batches, graphs.properties)]


def _node(model: Any, name: str) -> Any:
    return next(node for node in model.get_ordered_ops() if node.get_friendly_name() == name)


def _changed(got: Sequence[FloatArray], wanted: Sequence[FloatArray]) -> float | None:
    """Return the share of voxels whose largest channel differs."""
    if wanted[0].shape[1] == 1:
        return None
    differ = [have.argmax(axis=1) != want.argmax(axis=1) for have, want in zip(got, wanted, strict=True)]
    return float(np.mean([np.mean(each) for each in differ]))


def _narrowest(inputs: Sequence[FloatArray], kind: str) -> float:
    axis = -1 if kind == "MatMul" else 1
    others = [tuple(place for place in range(each.ndim) if place != axis % each.ndim) for each in inputs]
    ranges = np.max([np.abs(each).max(axis=axes) for each, axes in zip(inputs, others, strict=True)], axis=0)
    return float(ranges.min() / ranges.max()) if ranges.max() > 0 else 1.0


def _clipped(quantiser: Quantiser, read: Sequence[FloatArray]) -> float:
    return float(np.mean([quantiser.clipped_share(each) for each in read]))
