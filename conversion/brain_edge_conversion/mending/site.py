"""One layer of a quantised graph with its values at sampled positions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from brain_edge_conversion.mending.goals import Stream, by_stream, joined
from brain_edge_conversion.mending.layers import bias_of
from brain_edge_conversion.mending.watching import Pick, picked, port_of
from brain_edge_conversion.mending.windows import Patches, in_groups, places_read, windows_at

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from brain_edge.image.volume import FloatArray
    from brain_edge_conversion.mending.goals import Goal
    from brain_edge_conversion.mending.graphs import Graphs
    from brain_edge_conversion.mending.layers import Int8Layer, Quantiser

CHUNK_BYTES: Final = 64 * 2**20
"""Largest array of inputs of the weights that is held at once, bytes."""


@dataclass(frozen=True)
class Site:
    """One layer with its values for every input of the graph.

    Attributes:
        layer: layer of the quantised graph.
        goal: float layer at sampled positions.
        inputs: values that the layer's own quantiser reads, or that the layer reads if it has none.
        outputs: outputs behind the bias at the positions of `Stream.CHECK`, (groups, positions, outputs).
    """

    layer: Int8Layer
    goal: Goal
    inputs: Sequence[Patches]
    outputs: FloatArray

    @property
    def has_bias(self) -> bool:
        """True if something is added to each output."""
        return bias_of(self.layer.node) is not None

    def parts(self, stream: Stream, quantiser: Quantiser | None) -> Iterator[tuple[FloatArray, FloatArray]]:
        """Yield inputs of the weights (groups, positions, terms) and float outputs (groups, positions, outputs)."""
        goal = self.goal
        groups, _, terms = goal.trained.shape
        # products of a part are as large as the square of the terms: fewer rows than that cost more than they save
        rows = max(1, terms // 2, CHUNK_BYTES // (4 * groups * terms))
        for patches, sample in zip(self.inputs, goal.samples, strict=True):
            chosen, wanted = sample.positions[stream], sample.wanted[stream]
            for start in range(0, len(chosen), rows):
                windows = windows_at(patches, sample.sides, goal.layout, chosen[start : start + rows])
                # zero is a value of every quantiser, so that padding stays padding
                passed = windows if quantiser is None else quantiser(windows)
                yield passed, wanted[:, start : start + rows]

    def outputs_now(self, graphs: Graphs) -> Mapping[Stream, FloatArray]:
        """Return the outputs of the layer behind its bias with its present constants, for the fit and for the check."""
        layout = self.goal.layout
        chosen = [
            {stream: sample.positions[stream] for stream in (Stream.FIT, Stream.CHECK)} for sample in self.goal.samples
        ]
        pick = Pick(port_of(self.layer.end), layout.is_product)
        runs = picked(graphs.quantised, [pick], graphs.batches, [[joined(each)] for each in chosen], graphs.properties)
        found = [by_stream(rows, each, layout) for each, (rows,) in zip(chosen, runs, strict=True)]
        return {stream: np.concatenate([each[stream] for each in found], axis=1) for stream in found[0]}


def site_of(layer: Int8Layer, goal: Goal, graphs: Graphs) -> Site:
    """Return a layer with its values: the quantised graph runs up to this layer, once for each input."""
    layout = goal.layout
    picks = [Pick(port_of(layer.source), layout.is_product), Pick(port_of(layer.end), layout.is_product)]
    wanted = []
    for sample in goal.samples:
        read_at = np.concatenate([sample.positions[stream] for stream in (Stream.FIT, Stream.RANGE)])
        wanted.append((places_read(read_at, sample.sides, sample.extent, layout), sample.positions[Stream.CHECK]))
    runs = list(picked(graphs.quantised, picks, graphs.batches, wanted, graphs.properties))
    patches = [
        Patches(read, source, sample.extent)
        for sample, (read, _), (source, _) in zip(goal.samples, wanted, runs, strict=True)
    ]
    outputs = np.concatenate([in_groups(end, layout) for _, end in runs], axis=1)
    return Site(layer, goal, patches, outputs)
