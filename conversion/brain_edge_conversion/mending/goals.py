"""Layers of the float graph at sampled positions: what each quantised layer is to give there."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from brain_edge_conversion.mending.attention import attentions, positions_of
from brain_edge_conversion.mending.layers import end_of
from brain_edge_conversion.mending.targets import Meaning, deciding_port
from brain_edge_conversion.mending.watching import Pick, picked, port_of, sized
from brain_edge_conversion.mending.windows import as_rows, in_groups, layout_of, places
from brain_edge_conversion.mending.yardsticks import DecisionYardstick, OutputYardstick

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from brain_edge.image.volume import FloatArray
    from brain_edge_conversion.mending.attention import Attention
    from brain_edge_conversion.mending.graphs import Graphs
    from brain_edge_conversion.mending.layers import Int8Layer
    from brain_edge_conversion.mending.windows import Layout, Positions
    from brain_edge_conversion.mending.yardsticks import Yardstick

POSITIONS_PER_TERM: Final = 4
"""Positions for each term of an output: a fit with fewer positions than terms follows the noise."""


class Stream(IntEnum):
    """Use of sampled positions; the streams are drawn apart from each other."""

    FIT = 0
    """Fit of the weights."""
    CHECK = 1
    """Comparison of the fitted layer with the layer as it was."""
    RANGE = 2
    """Choice of the input's range."""


COUNTS: Final = {Stream.FIT: 12288, Stream.CHECK: 8192, Stream.RANGE: 2048}
"""Least number of positions over all inputs."""


@dataclass(frozen=True)
class Drawn:
    """Positions of one layer for one input of the graph.

    Attributes:
        sides: shape in which positions count.
        extent: spatial sides of the layer's input.
        positions: for each stream the positions in the output.
    """

    sides: tuple[int, ...]
    extent: tuple[int, ...]
    positions: Mapping[Stream, Positions]


@dataclass(frozen=True)
class Sample(Drawn):
    """Float layer at drawn positions.

    Attributes:
        wanted: for each stream the outputs there behind the bias, (groups, positions, outputs).
    """

    wanted: Mapping[Stream, FloatArray]


@dataclass(frozen=True)
class Goal:
    """Float layer at sampled positions.

    Attributes:
        layout: geometry of the layer.
        trained: trained weights, (groups, outputs, terms).
        samples: values for each input of the graph.
        yardstick: error of the layer.
    """

    layout: Layout
    trained: FloatArray
    samples: Sequence[Sample]
    yardstick: Yardstick

    def wanted(self, stream: Stream) -> FloatArray:
        """Return the float outputs of a stream, (groups, positions, outputs)."""
        return np.concatenate([sample.wanted[stream] for sample in self.samples], axis=1)


@dataclass(frozen=True)
class _Known:
    """Layer of the float graph whose arithmetic is known."""

    layout: Layout
    trained: FloatArray
    pick: Pick


def goals_of(layers: Sequence[Int8Layer], graphs: Graphs, seed: int) -> dict[str, Goal]:
    """Return name -> float layer for all layers of known arithmetic; the float graph runs twice for each input."""
    known = _known(layers, graphs)
    drawn: list[dict[str, Drawn]] = []
    doubts = attentions(graphs.original, graphs.batches, graphs.target, graphs.properties)
    for batch, (values, attention) in enumerate(zip(graphs.batches, doubts, strict=True)):
        nodes = _nodes(graphs.original, values.shape)
        count = len(graphs.batches)
        drawn.append(
            {
                name: _draw(nodes[name], layer, count, np.random.default_rng([seed, number, batch]), attention)
                for number, (name, layer) in enumerate(known.items())
            }
        )
    samples: dict[str, list[Sample]] = {name: [] for name in known}
    asked = [[joined(draw[name].positions) for name in known] for draw in drawn]
    picks = [layer.pick for layer in known.values()]
    runs = picked(graphs.original, picks, graphs.batches, asked, graphs.properties)
    for draw, found in zip(drawn, runs, strict=True):
        for (name, layer), rows in zip(known.items(), found, strict=True):
            each = draw[name]
            wanted = by_stream(rows, each.positions, layer.layout)
            samples[name].append(Sample(each.sides, each.extent, each.positions, wanted))
    return {
        name: Goal(layer.layout, layer.trained, samples[name], _yardstick(layer, graphs))
        for name, layer in known.items()
    }


def _known(layers: Sequence[Int8Layer], graphs: Graphs) -> dict[str, _Known]:
    nodes = _nodes(graphs.original, graphs.batches[0].shape)
    found = {}
    for name in (layer.name for layer in layers):
        node, weights = nodes[name], nodes[name].input_value(1).get_node()
        layout = layout_of(node) if weights.get_type_name() == "Constant" else None
        if layout is not None:
            pick = Pick(port_of(end_of(node)), layout.is_product)
            found[name] = _Known(layout, as_rows(weights.data, layout), pick)
    return found


def _draw(node: Any, layer: _Known, batches: int, random: np.random.Generator, attention: Attention | None) -> Drawn:
    """Draw positions of every stream in the output of a layer for one input of the graph."""
    sides = places(node.get_output_shape(0), layer.layout)
    extent = () if layer.layout.is_product else tuple(node.get_input_shape(0)[2:])
    counts = COUNTS | {Stream.FIT: max(COUNTS[Stream.FIT], POSITIONS_PER_TERM * layer.trained.shape[2])}
    most = math.prod(sides)
    positions = {
        stream: positions_of(sides, min(math.ceil(counts[stream] / batches), most), random, attention)
        for stream in Stream
    }
    return Drawn(sides, extent, positions)


def _yardstick(layer: _Known, graphs: Graphs) -> Yardstick:
    target = graphs.target
    decides = target.meaning is not Meaning.VALUES and layer.layout.groups == 1 and not layer.layout.is_product
    if decides and layer.pick.port == deciding_port(graphs.original):
        return DecisionYardstick(target.meaning)
    return OutputYardstick()


def _nodes(model: Any, shape: Sequence[int]) -> dict[str, Any]:
    return {node.get_friendly_name(): node for node in sized(model, shape).get_ordered_ops()}


def joined(positions: Mapping[Stream, Positions]) -> Positions:
    """Return the positions of all streams, one after the other."""
    return np.concatenate(list(positions.values()))


def by_stream(rows: FloatArray, positions: Mapping[Stream, Positions], layout: Layout) -> dict[Stream, FloatArray]:
    """Split values at joined positions, (positions, channels), into those of each stream in groups."""
    ends = np.cumsum([len(each) for each in positions.values()])[:-1]
    return {stream: in_groups(each, layout) for stream, each in zip(positions, np.split(rows, ends), strict=True)}
