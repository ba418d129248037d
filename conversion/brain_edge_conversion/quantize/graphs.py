"""Graphs of one trial: the float graph that is quantised, and the quantised graph with its weights changed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from brain_edge.package import Precision, graph_path
from brain_edge.runtime.graph_file import read_graph
from brain_edge.runtime.session import compile_properties
from brain_edge_conversion.budget.capture import load_inputs
from brain_edge_conversion.distilling.known import first_unknown
from brain_edge_conversion.distilling.lesson import Lesson, Schedule
from brain_edge_conversion.mending.equalise import equalised, pairs_of
from brain_edge_conversion.mending.graphs import Graphs
from brain_edge_conversion.mending.reconstruct import reconstruct
from brain_edge_conversion.mending.targets import target_of
from brain_edge_conversion.quantize.ladder import Weights
from brain_edge_conversion.quantize.networks import as_much_as_fits, quantise

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence
    from pathlib import Path

    from brain_edge.image.volume import FloatArray
    from brain_edge.machine.options import RuntimeOptions
    from brain_edge.package import ModelPackage
    from brain_edge.spec import ModelSpec, Stage
    from brain_edge_conversion.mending.targets import Target
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


FOR_FITS: Final = Cut(6, 2**30)
"""Part for a fit, which holds the values of one layer at sampled positions only: whole heads of most networks."""
FOR_SCALES: Final = Cut(6, 64 * 2**20)
"""Part for the choice of scales, which holds one activation for all inputs."""
HELD_OUT: Final = Cut(4, 256 * 2**20)
"""Part of the held-out inputs, on which the whole graph runs several times in a training."""
SEED: Final = 0
"""Seed of the positions at which layers are fitted, and of crops: the same calibration cases give the same bytes."""
SCHEDULE: Final = Schedule()
"""Length of a distillation."""


@dataclass(frozen=True)
class Tuition:
    """What a distillation needs beyond the calibration inputs.

    Attributes:
        held_out: `.npy` files of inputs of each graph that decide when the training ends, from the search data.
        work: folder of the states of the trainings.
        fitted: folder of a finished trial with the same weights before the training; None to fit them anew.
    """

    held_out: Mapping[str, Sequence[Path]]
    work: Path
    fitted: Path | None = None


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
        self._spec, self._graph, self._threads = package.spec, graph, runtime.threads
        self._inputs = inputs
        self._properties = compile_properties(Precision.F32, runtime)

    def original(self, setting: Setting) -> Any:
        """Return the float graph that a setting quantises."""
        if setting.weights is not Weights.EQUALISED:
            return self._model
        return equalised(self._model, self._batches(FOR_SCALES), self._properties)

    def quantised(
        self,
        setting: Setting,
        keep: Collection[str],
        report: Callable[[str], None],
        tuition: Tuition | None = None,
    ) -> Any:
        """Return the quantised graph; the layers in `keep` stay in floating point.

        Args:
            setting: quantisation setting.
            keep: names of layers that stay in floating point.
            report: function that receives progress lines.
            tuition: held-out inputs and folders of a distillation; a setting without one needs none.

        Raises:
            CrashError: NNCF cannot quantise the graph.
        """
        if setting.weights is Weights.AS_TRAINED:
            return quantise(self._model, self._inputs, setting, keep)
        if tuition is None or tuition.fitted is None:
            model = self.both(setting, report, keep=keep).quantised
        else:
            model = read_graph(tuition.fitted / graph_path(self._graph), self._spec)
        if setting.distilled and tuition is not None:
            self._distil(model, tuition, report)
        return model

    def _distil(self, model: Any, tuition: Tuition, report: Callable[[str], None]) -> None:
        """Train a fitted graph in place."""
        from brain_edge_conversion.distilling.distil import distil  # PyTorch is needed here alone

        held_out = self._batches(HELD_OUT, tuition.held_out[self._graph])
        lesson = Lesson(
            graphs=Graphs(model, self._model, held_out, self._properties),
            files=self._inputs,
            target=self._target(),
            checkpoint=tuition.work / f"distillation-{self._graph}.npz",
            threads=self._threads or 0,
            seed=SEED,
            schedule=SCHEDULE,
        )
        distil(lesson, report)

    def both(
        self, setting: Setting, report: Callable[[str], None], cut: Cut = FOR_FITS, keep: Collection[str] = ()
    ) -> Graphs:
        """Return float and quantised graph, with the inputs on which a change of weights is fitted.

        Raises:
            CrashError: NNCF cannot quantise the graph.
        """
        original = self.original(setting)
        model = quantise(original, self._inputs, setting, keep)
        graphs = Graphs(model, original, self._batches(cut), self._properties, self._target())
        if setting.weights is not Weights.AS_TRAINED:
            reconstruct(graphs, SEED, report)
        return graphs

    def _target(self) -> Target:
        return target_of(_stage_of(self._graph, self._spec), self._model)

    def _batches(self, cut: Cut, files: Sequence[Path] = ()) -> list[FloatArray]:
        """Return a few inputs at equal steps, each cut to its middle if its activations are too large."""
        inputs = files or self._inputs
        step = max(1, len(inputs) // cut.inputs)
        loaded = load_inputs(inputs[::step][: cut.inputs])
        return [as_much_as_fits(batch, self._model, cut.activation_bytes) for batch in loaded]


def has_pairs(package: ModelPackage) -> bool:
    """Return True if scales can move between convolutions of any graph of a package."""
    models = (read_graph(package.graph_file(graph), package.spec) for graph in package.spec.graphs)
    return any(True for model in models for _ in pairs_of(model))


def not_differentiable(package: ModelPackage) -> str | None:
    """Return the kind of the first operation of a package's graphs without a known gradient; None if all have one."""
    models = (read_graph(package.graph_file(graph), package.spec) for graph in package.spec.graphs)
    return next((kind for kind in map(first_unknown, models) if kind is not None), None)


def _stage_of(graph: str, spec: ModelSpec) -> Stage:
    return next(stage for stage in spec.stages if graph in stage.network.graphs)
