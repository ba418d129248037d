"""Quantisation of a graph with loops: NNCF cannot quantise loops, so they stay in float and the rest is quantised.

The graph is cut at its loops: a loop's output becomes an input of the rest, a loop's input becomes an output. The rest
is quantised like any graph, with the loops' outputs for the calibration inputs, and the loops are put back unchanged.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from brain_edge.bench.operations import compile_model
from brain_edge.runtime.library import import_openvino, operations
from brain_edge_conversion.budget.coverage import LOOPS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from brain_edge.image.volume import FloatArray

    Values = dict[str, FloatArray]
    """Name of an input -> its values, for a graph with several inputs."""

_GIVEN: Final = "given-by-loop"
_TAKEN: Final = "taken-by-loop"
_ENTRANCE: Final = "graph-input"
_EXIT: Final = "graph-output"


def loops_of(model: Any) -> list[Any]:
    """Return the loops of an OpenVINO model, in their order."""
    return [node for node in model.get_ordered_ops() if node.get_type_name() in LOOPS]


def quantise_around_loops(
    model: Any, batches: Iterable[FloatArray], quantise: Callable[[Any, Sequence[Values]], Any]
) -> Any:
    """Return a copy of a model that is quantised except for its loops.

    Args:
        model: floating-point model with one input and one output.
        batches: calibration inputs.
        quantise: function from a model with several inputs and their values to the quantised model; parameters and
            results must keep their names.
    """
    values = [_what_loops_give(model, batch) for batch in batches]
    around, loops, end = _cut(model.clone())
    return _joined(quantise(around, values), loops, end)


def _what_loops_give(model: Any, batch: FloatArray) -> Values:
    """Return the inputs of the cut graph: the batch, and the outputs of each loop for it."""
    watched = model.clone()
    ports = dict(_ports(loops_of(watched)))
    graph = import_openvino().Model(
        [operations().result(port) for port in ports.values()], watched.get_parameters(), "watched"
    )
    given = compile_model(graph, {"INFERENCE_PRECISION_HINT": "f32"})(batch)
    return {_ENTRANCE: batch, **{name: np.array(given[place]) for place, name in enumerate(ports)}}


def _ports(loops: Sequence[Any]) -> Iterator[tuple[str, Any]]:
    """Yield every loop output that has a reader, with its name in the cut graph."""
    for place, loop in enumerate(loops):
        for number, port in enumerate(loop.outputs()):
            if port.get_target_inputs():
                yield f"{_GIVEN}-{place}-{number}", port


def _takers(loops: Sequence[Any], end: Any) -> Iterator[tuple[str, Any]]:
    """Yield the inputs of the graph's result and of the loops, with the name of their source in the cut graph."""
    yield _EXIT, end.input(0)
    for place, loop in enumerate(loops):
        for number, port in enumerate(loop.inputs()):
            yield f"{_TAKEN}-{place}-{number}", port


def _cut(model: Any) -> tuple[Any, list[Any], Any]:
    """Return the graph without its loops, the loops, and the result; the model is consumed."""
    ops = operations()
    (entrance,), (end,), loops = model.get_parameters(), model.get_results(), loops_of(model)
    parameters, results = [_named(entrance, _ENTRANCE)], []
    for name, port in list(_ports(loops)):
        parameter = _named(ops.parameter(port.get_partial_shape(), port.get_element_type()), name)
        _hand_over(port, parameter.output(0))
        parameters.append(parameter)
    for name, port in _takers(loops, end):
        # NNCF loses the name of a result that is also an input: its reader finds it by the input's name
        if port.get_source_output().get_node().get_type_name() not in ("Constant", "Parameter"):
            result = ops.result(port.get_source_output())
            result.set_friendly_name(name)
            results.append(result)
    return import_openvino().Model(results, parameters, "around"), loops, end


def _joined(quantised: Any, loops: Sequence[Any], end: Any) -> Any:
    """Return the quantised graph with its loops put back."""
    parameters = {node.get_friendly_name(): node for node in quantised.get_parameters()}
    results = {node.get_friendly_name(): node for node in quantised.get_results()}
    for name, port in _takers(loops, end):
        source = port.get_source_output().get_node()
        if name in results:
            port.replace_source_output(results[name].input_value(0))
        elif source.get_type_name() == "Parameter":
            port.replace_source_output(parameters[source.get_friendly_name()].output(0))
    for place, loop in enumerate(loops):
        for number in range(loop.get_output_size()):
            if (parameter := parameters.get(f"{_GIVEN}-{place}-{number}")) is not None:
                _hand_over(parameter.output(0), loop.output(number))
    return import_openvino().Model([end], [parameters[_ENTRANCE]], "quantised")


def _named(parameter: Any, name: str) -> Any:
    parameter.set_friendly_name(name)
    parameter.output(0).set_names({name})
    return parameter


def _hand_over(port: Any, other: Any) -> None:
    """Connect all readers of a port to another port."""
    for reader in port.get_target_inputs():
        reader.replace_source_output(other)
