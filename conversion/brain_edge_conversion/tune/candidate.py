"""Candidate of a tuning: a package's graphs between other steps or in another precision, with operations counted."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from brain_edge.bench.counted import Input, counted
from brain_edge.engine.segmenter import Segmenter
from brain_edge.package import ModelPackage, Precision
from brain_edge.runtime.graph_file import read_graph
from brain_edge_conversion.budget.coverage import layer_costs
from brain_edge_conversion.quantize.ranking import COST_FACTORS
from brain_edge_conversion.sealing.graph import save_graph
from brain_edge_conversion.tune.settings import Arithmetic

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Mapping
    from pathlib import Path

    from brain_edge.engine.segmenter import WarmSegmenter
    from brain_edge.machine.options import RuntimeOptions
    from brain_edge.spec import ModelSpec
    from brain_edge_conversion.budget.coverage import LayerCost
    from brain_edge_conversion.tune.settings import Dials, Setting

BF16_FACTOR: Final = 2.0
"""Time in f32 / time in bf16 on a CPU with native bf16: three whole networks gave 1.9, 2.1 and 2.2."""


@dataclass(frozen=True)
class Candidate:
    """Setting of a package, ready to run.

    Attributes:
        graphs: package whose graphs run: the tuned package or its INT8 package.
        spec: specification with the steps of the setting.
    """

    graphs: ModelPackage
    spec: ModelSpec

    @classmethod
    def of(cls, dials: Dials, setting: Setting, package: ModelPackage, int8: ModelPackage | None) -> Candidate:
        """Return the candidate of a setting.

        Raises:
            ValueError: the steps no longer fit together.
        """
        arithmetic = dials.numbers(setting)
        graphs = int8 if arithmetic is Arithmetic.INT8 and int8 is not None else package
        if arithmetic is Arithmetic.BF16:
            graphs = package.in_precision(Precision.BF16)
        return cls(graphs, dials.changed(setting))

    def open(self, options: RuntimeOptions, count: Counter[Input] | None = None) -> WarmSegmenter:
        """Open the graphs between these steps, ready to run.

        Args:
            options: runtime options.
            count: counter of the inputs that each graph gets.
        """
        return Segmenter.open(self.graphs, options, spec=self.spec, wrap=None if count is None else counted(count))

    def write_graphs(self, folder: Path) -> None:
        """Write the graphs that the specification still needs, each with this specification."""
        for graph in self.spec.graphs:
            model = read_graph(self.graphs.graph_file(graph), self.graphs.spec)
            save_graph(model, ModelPackage(folder, self.graphs.manifest).graph_file(graph), self.spec)


@dataclass
class Ledger:
    """Cost of networks in f32 multiply-accumulates; each graph is analysed once per input shape."""

    _known: dict[tuple[Path, Input], tuple[LayerCost, ...]] = field(default_factory=dict)

    def layers(self, graphs: ModelPackage, seen: Input) -> tuple[LayerCost, ...]:
        """Return the cost of each layer of a graph for an input."""
        key = (graphs.folder, seen)
        if key not in self._known:
            model = read_graph(graphs.graph_file(seen.graph), graphs.spec)
            self._known[key] = layer_costs(model, seen.shape)
        return self._known[key]

    def operations(self, graphs: ModelPackage, count: Mapping[Input, int]) -> float:
        """Return the f32 multiply-accumulates for the counted inputs; bf16 and INT8 count by their time against f32."""
        is_f32 = graphs.manifest.precision is Precision.F32
        return sum(
            times * layer.multiply_adds / _factor(layer, is_f32=is_f32)
            for seen, times in count.items()
            for layer in self.layers(graphs, seen)
        )


def _factor(layer: LayerCost, *, is_f32: bool) -> float:
    if layer.quantised:
        return COST_FACTORS[layer.kind]
    return 1.0 if is_f32 else BF16_FACTOR
