"""Quantising a graph that holds loops: NNCF cannot see them, so what is around them is quantised, and they stay float.

The graph is cut at its loops: what a loop gives becomes an input of the rest, what it takes an output. The rest is
quantised like any graph, on what the loops give for the calibration inputs, and the loops are put back as they were.
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
    """What a graph of several inputs is given, by their names."""

_GIVEN: Final = "given-by-loop"
_TAKEN: Final = "taken-by-loop"
_ENTRANCE: Final = "graph-input"
_EXIT: Final = "graph-output"


def loops_of(model: Any) -> list[Any]:
    """The loops of an OpenVINO model, in their order."""
    return [node for node in model.get_ordered_ops() if node.get_type_name() in LOOPS]


def quantise_around_loops(
    model: Any, batches: Iterable[FloatArray], quantise: Callable[[Any, Sequence[Values]], Any]
) -> Any:
    """A copy of a model, quantised but for its loops.

    Args:
        model: in floating point, with one input and one output.
        batches: the calibration inputs.
        quantise: from a model of several inputs and the values of these to the quantised model, whose parameters and
            results keep their names.
    """
    values = [_what_loops_give(model, batch) for batch in batches]
    around, loops, end = _cut(model.clone())
    return _joined(quantise(around, values), loops, end)


def _what_loops_give(model: Any, batch: FloatArray) -> Values:
    """The inputs of the cut graph: the batch, and what each loop gives for it."""
    watched = model.clone()
    ports = dict(_ports(loops_of(watched)))
    graph = import_openvino().Model(
        [operations().result(port) for port in ports.values()], watched.get_parameters(), "watched"
    )
    given = compile_model(graph, {"INFERENCE_PRECISION_HINT": "f32"})(batch)
    return {_ENTRANCE: batch, **{name: np.array(given[place]) for place, name in enumerate(ports)}}


def _ports(loops: Sequence[Any]) -> Iterator[tuple[str, Any]]:
    """Every output of a loop that somebody reads, by the name that it has where the graph is cut."""
    for place, loop in enumerate(loops):
        for number, port in enumerate(loop.outputs()):
            if port.get_target_inputs():
                yield f"{_GIVEN}-{place}-{number}", port


def _takers(loops: Sequence[Any], end: Any) -> Iterator[tuple[str, Any]]:
    """The input of the graph's result and those of the loops, by the name that what each takes has after the cut."""
    yield _EXIT, end.input(0)
    for place, loop in enumerate(loops):
        for number, port in enumerate(loop.inputs()):
            yield f"{_TAKEN}-{place}-{number}", port


def _cut(model: Any) -> tuple[Any, list[Any], Any]:
    """The graph without its loops, the loops, and the result; the model itself is used up."""
    ops = operations()
    (entrance,), (end,), loops = model.get_parameters(), model.get_results(), loops_of(model)
    parameters, results = [_named(entrance, _ENTRANCE)], []
    for name, port in list(_ports(loops)):
        parameter = _named(ops.parameter(port.get_partial_shape(), port.get_element_type()), name)
        _hand_over(port, parameter.output(0))
        parameters.append(parameter)
    for name, port in _takers(loops, end):
        # NNCF loses the name of a result that an input is: who takes that finds it by its own
        if port.get_source_output().get_node().get_type_name() not in ("Constant", "Parameter"):
            result = ops.result(port.get_source_output())
            result.set_friendly_name(name)
            results.append(result)
    return import_openvino().Model(results, parameters, "around"), loops, end


def _joined(quantised: Any, loops: Sequence[Any], end: Any) -> Any:
    """The quantised graph with its loops in their places."""
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
    """Let whoever reads a port read another one."""
    for reader in port.get_target_inputs():
        reader.replace_source_output(other)
