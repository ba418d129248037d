"""A setting made real: the graphs of a package between other steps, in other numbers, with every operation counted."""

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
"""Time in f32 / time in bf16 where the CPU computes it natively: three whole networks gave 1.9, 2.1 and 2.2."""


@dataclass(frozen=True)
class Candidate:
    """A setting of a package.

    Attributes:
        graphs: the package whose graphs are run: the one that is tuned, or its INT8 package.
        spec: the steps between which they are run.
    """

    graphs: ModelPackage
    spec: ModelSpec

    @classmethod
    def of(cls, dials: Dials, setting: Setting, package: ModelPackage, int8: ModelPackage | None) -> Candidate:
        """The candidate of a setting.

        Raises:
            ValueError: the steps do not fit together any more.
        """
        arithmetic = dials.numbers(setting)
        graphs = int8 if arithmetic is Arithmetic.INT8 and int8 is not None else package
        if arithmetic is Arithmetic.BF16:
            graphs = package.in_precision(Precision.BF16)
        return cls(graphs, dials.changed(setting))

    def open(self, options: RuntimeOptions, count: Counter[Input] | None = None) -> WarmSegmenter:
        """The graphs between these steps, ready to run.

        Args:
            options: of the runtime.
            count: told of each input that a graph is given.
        """
        return Segmenter.open(self.graphs, options, spec=self.spec, wrap=None if count is None else counted(count))

    def write_graphs(self, folder: Path) -> None:
        """The graphs that the spec still needs, each carrying this spec."""
        for graph in self.spec.graphs:
            model = read_graph(self.graphs.graph_file(graph), self.graphs.spec)
            save_graph(model, ModelPackage(folder, self.graphs.manifest).graph_file(graph), self.spec)


@dataclass
class Ledger:
    """What networks cost, in multiply-adds of f32; asks each graph once for each shape."""

    _known: dict[tuple[Path, Input], tuple[LayerCost, ...]] = field(default_factory=dict)

    def layers(self, graphs: ModelPackage, seen: Input) -> tuple[LayerCost, ...]:
        """The cost of each layer of a graph for an input."""
        key = (graphs.folder, seen)
        if key not in self._known:
            model = read_graph(graphs.graph_file(seen.graph), graphs.spec)
            self._known[key] = layer_costs(model, seen.shape)
        return self._known[key]

    def operations(self, graphs: ModelPackage, count: Mapping[Input, int]) -> float:
        """Multiply-adds for the inputs that were counted; those in other numbers as their share of the time in f32."""
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
