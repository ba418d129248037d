"""Graphs of one trial: the float graph that is quantised, and the quantised graph with its weights changed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from brain_edge.package import Precision
from brain_edge.runtime.graph_file import read_graph
from brain_edge.runtime.session import compile_properties
from brain_edge_conversion.budget.capture import load_inputs
from brain_edge_conversion.mending.equalise import equalised, pairs_of
from brain_edge_conversion.mending.reconstruct import reconstruct
from brain_edge_conversion.mending.site import Graphs
from brain_edge_conversion.quantize.ladder import Weights
from brain_edge_conversion.quantize.networks import as_much_as_fits, quantise

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence
    from pathlib import Path

    from brain_edge.image.volume import FloatArray
    from brain_edge.machine.options import RuntimeOptions
    from brain_edge.package import ModelPackage
    from brain_edge_conversion.quantize.ladder import Setting


@dataclass(frozen=True)
class Cut:
    """Part of the calibration inputs on which layers are looked at.

    Attributes:
        inputs: largest number of inputs.
        activation_bytes: largest activation of one layer, bytes; a larger input is cut to its middle.
    """

    inputs: int
    activation_bytes: int


FOR_FITS: Final = Cut(6, 64 * 2**20)
"""Part for a fit, which holds the activations of one layer for all inputs."""
SEED: Final = 0
"""Seed of the positions at which layers are fitted: the same calibration cases give the same bytes."""


class GraphMaker:
    """Float and quantised form of one graph of a package.

    Args:
        package: floating-point package.
        graph: name of the graph.
        inputs: `.npy` files of inputs from the calibration cases.
        runtime: threads.
    """

    def __init__(self, package: ModelPackage, graph: str, inputs: Sequence[Path], runtime: RuntimeOptions) -> None:
        self._model = read_graph(package.graph_file(graph), package.spec)
        self._inputs = inputs
        self._properties = compile_properties(Precision.F32, runtime)

    def original(self, setting: Setting) -> Any:
        """Return the float graph that a setting quantises."""
        if setting.weights is not Weights.EQUALISED:
            return self._model
        return equalised(self._model, self._batches(), self._properties)

    def quantised(self, setting: Setting, keep: Collection[str], report: Callable[[str], None]) -> Any:
        """Return the quantised graph; the layers in `keep` stay in floating point.

        Raises:
            CrashError: NNCF cannot quantise the graph.
        """
        if setting.weights is Weights.AS_TRAINED:
            return quantise(self._model, self._inputs, setting, keep)
        return self.both(setting, report, keep=keep).quantised

    def both(
        self, setting: Setting, report: Callable[[str], None], cut: Cut = FOR_FITS, keep: Collection[str] = ()
    ) -> Graphs:
        """Return float and quantised graph, with the inputs on which a change of weights is fitted.

        Raises:
            CrashError: NNCF cannot quantise the graph.
        """
        original = self.original(setting)
        model = quantise(original, self._inputs, setting, keep)
        graphs = Graphs(model, original, self._batches(cut), self._properties)
        if setting.weights is not Weights.AS_TRAINED:
            reconstruct(graphs, SEED, report)
        return graphs

    def _batches(self, cut: Cut = FOR_FITS) -> list[FloatArray]:
        """Return a few inputs at equal steps, each cut to its middle if its activations are too large."""
        step = max(1, len(self._inputs) // cut.inputs)
        loaded = load_inputs(self._inputs[::step][: cut.inputs])
        return [as_much_as_fits(batch, self._model, cut.activation_bytes) for batch in loaded]


def has_pairs(package: ModelPackage) -> bool:
    """Return True if scales can move between convolutions of any graph of a package."""
    models = (read_graph(package.graph_file(graph), package.spec) for graph in package.spec.graphs)
    return any(True for model in models for _ in pairs_of(model))
