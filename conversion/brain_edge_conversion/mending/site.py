"""One layer of a quantised graph with its values at sampled positions, and what its float layer gives there."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from brain_edge_conversion.mending.layers import bias_of, end_of
from brain_edge_conversion.mending.watching import port_of, sized, watched, watched_from
from brain_edge_conversion.mending.windows import as_rows, layout_of, outputs_at, places, windows_at

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from brain_edge.image.volume import FloatArray
    from brain_edge_conversion.mending.layers import Int8Layer, Quantiser
    from brain_edge_conversion.mending.windows import Layout, Positions

CHUNK_BYTES: Final = 64 * 2**20
"""Largest array of inputs of the weights that is held at once, bytes."""
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
class Graphs:
    """Both forms of one network, and inputs for them.

    Attributes:
        quantised: model with integer weights; a fit changes its constants.
        original: float model with the same names of layers.
        batches: inputs of the model.
        properties: properties of the compilation.
    """

    quantised: Any
    original: Any
    batches: Sequence[FloatArray]
    properties: Mapping[str, Any]


@dataclass(frozen=True)
class Target:
    """Float layer at sampled positions.

    Attributes:
        layout: geometry of the layer.
        trained: trained weights, (groups, outputs, terms).
        sides: for each input of the graph the shape in which positions count.
        positions: for each stream the positions in the output for each input of the graph.
        wanted: for each stream the outputs there behind the bias, (groups, positions, outputs).
    """

    layout: Layout
    trained: FloatArray
    sides: Sequence[tuple[int, ...]]
    positions: Mapping[Stream, Sequence[Positions]]
    wanted: Mapping[Stream, Sequence[FloatArray]]

    def spread(self, stream: Stream) -> float:
        """Return the root mean square of the outputs about the mean of each channel."""
        return float(np.sqrt(np.concatenate(self.wanted[stream], axis=1).var(axis=1).mean()))


@dataclass(frozen=True)
class Site:
    """One layer with its values for every input of the graph.

    Attributes:
        layer: layer of the quantised graph.
        target: float layer at sampled positions.
        inputs: values that the layer's own quantiser reads, or that the layer reads if it has none.
        outputs: outputs behind the bias.
    """

    layer: Int8Layer
    target: Target
    inputs: Sequence[FloatArray]
    outputs: Sequence[FloatArray]

    @property
    def has_bias(self) -> bool:
        """True if something is added to each output."""
        return bias_of(self.layer.node) is not None

    def parts(self, stream: Stream, quantiser: Quantiser | None) -> Iterator[tuple[FloatArray, FloatArray]]:
        """Yield inputs of the weights (groups, positions, terms) and float outputs (groups, positions, outputs)."""
        target = self.target
        rows = max(1, CHUNK_BYTES // (4 * target.trained.shape[0] * target.trained.shape[2]))
        sampled = zip(self.inputs, target.sides, target.positions[stream], target.wanted[stream], strict=True)
        for values, sides, chosen, wanted in sampled:
            for start in range(0, len(chosen), rows):
                windows = windows_at(values, sides, target.layout, chosen[start : start + rows])
                # zero is a value of every quantiser, so that padding stays padding
                passed = windows if quantiser is None else quantiser(windows)
                yield passed, wanted[:, start : start + rows]

    def lacking(self, outputs: Sequence[FloatArray], stream: Stream) -> FloatArray:
        """Return float outputs minus `outputs`, (groups, positions, outputs)."""
        layout, positions = self.target.layout, self.target.positions[stream]
        sampled = zip(outputs, positions, self.target.wanted[stream], strict=True)
        return np.concatenate([wanted - outputs_at(got, layout, chosen) for got, chosen, wanted in sampled], axis=1)

    def outputs_now(self, graphs: Graphs) -> list[FloatArray]:
        """Return the outputs of the layer behind its bias with its present constants, for the same inputs."""
        source, end = port_of(self.layer.source), port_of(self.layer.end)
        return list(watched_from(graphs.quantised, source, end, self.inputs, graphs.properties))


def targets_of(layers: Sequence[Int8Layer], graphs: Graphs, seed: int) -> dict[str, Target]:
    """Return name -> float layer for all layers whose arithmetic is known; the float graph runs once for each input."""
    nodes = {
        node.get_friendly_name(): node for node in sized(graphs.original, graphs.batches[0].shape).get_ordered_ops()
    }
    published = {layer.name: nodes[layer.name] for layer in layers}
    known = {
        name: (layout, as_rows(node.input_value(1).get_node().data, layout))
        for name, node in published.items()
        if node.input_value(1).get_node().get_type_name() == "Constant" and (layout := layout_of(node)) is not None
    }
    ports = [port_of(end_of(published[name])) for name in known]
    sampled: dict[str, list[_Sampled]] = {name: [] for name in known}
    for batch, outputs in enumerate(watched(graphs.original, ports, graphs.batches, graphs.properties)):
        for number, (name, output) in enumerate(zip(known, outputs, strict=True)):
            layout, trained = known[name]
            random = np.random.default_rng([seed, number, batch])
            sampled[name].append(_sampled(output, layout, trained.shape[2], len(graphs.batches), random))
    return {name: _target(*known[name], sampled[name]) for name in known}


@dataclass(frozen=True)
class _Sampled:
    sides: tuple[int, ...]
    positions: Mapping[Stream, Positions]
    wanted: Mapping[Stream, FloatArray]


def _sampled(output: FloatArray, layout: Layout, terms: int, batches: int, random: np.random.Generator) -> _Sampled:
    """Return one float output at random positions of every stream."""
    sides = places(output, layout)
    counts = COUNTS | {Stream.FIT: max(COUNTS[Stream.FIT], POSITIONS_PER_TERM * terms)}
    most = math.prod(sides)
    positions = {
        stream: np.sort(random.integers(0, most, min(math.ceil(counts[stream] / batches), most))) for stream in Stream
    }
    return _Sampled(sides, positions, {stream: outputs_at(output, layout, positions[stream]) for stream in Stream})


def _target(layout: Layout, trained: FloatArray, sampled: Sequence[_Sampled]) -> Target:
    return Target(
        layout,
        trained,
        [each.sides for each in sampled],
        {stream: [each.positions[stream] for each in sampled] for stream in Stream},
        {stream: [each.wanted[stream] for each in sampled] for stream in Stream},
    )


def site_of(layer: Int8Layer, target: Target, graphs: Graphs) -> Site:
    """Return a layer with its values: the quantised graph runs up to this layer, once for each input."""
    ports = [port_of(layer.source), port_of(layer.end)]
    found = list(watched(graphs.quantised, ports, graphs.batches, graphs.properties))
    return Site(layer, target, [source for source, _ in found], [end for _, end in found])
