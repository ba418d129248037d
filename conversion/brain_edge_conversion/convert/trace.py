"""Stage 4 of a conversion: from PyTorch modules or graph files to rewritten OpenVINO graphs."""

from __future__ import annotations

import copy
import warnings
from typing import TYPE_CHECKING, Any

from brain_edge.errors import BrainEdgeError, WeightsError
from brain_edge.runtime.library import import_openvino, traced_once
from brain_edge.spec.plan import known_inputs
from brain_edge_conversion.convert.draft import Traced, onward, stage_of
from brain_edge_conversion.convert.graph_input import fit_input
from brain_edge_conversion.convert.probe import noise
from brain_edge_conversion.convert.quantised import quantised_node
from brain_edge_conversion.convert.rewrites.final_activation import leave_final_activation, require_one_activation
from brain_edge_conversion.convert.rewrites.graph import rewrite_graph
from brain_edge_conversion.convert.rewrites.input_affine import fold_input_affines
from brain_edge_conversion.convert.rewrites.nearest_exact import OPERATION, WithoutNearestExact
from brain_edge_conversion.convert.rewrites.outputs import as_traced, several_outputs, with_one_output
from brain_edge_conversion.weights.converter_reason import advice_for, converter_reason

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import nn

    from brain_edge.image.geometry import Shape
    from brain_edge.spec import Network
    from brain_edge_conversion.convert.draft import Rewritten
    from brain_edge_conversion.recipe import GraphSource


def trace(draft: Rewritten) -> Traced:
    """Trace every network, or read its graph from a file, and rewrite the graph if rewrites are requested.

    Raises:
        BrainEdgeError: OpenVINO cannot convert a network.
        WeightsError: a graph from a file differs from the specification, a network is quantised already, or a graph
            ends in an activation that its steps apply again.
    """
    options, spec = draft.options, draft.spec
    models: dict[str, Any] = {}
    rewrites: list[str] = []
    for graph in draft.source.graphs:
        options.report(f"converting {graph.graph}")
        stage = stage_of(spec, graph.graph)
        model = models[graph.graph] = _model(draft, graph, stage.network)
        if not graph.activates_twice:
            require_one_activation(graph.graph, stage.network, model)
        lines = [*draft.rewritten[graph.graph].lines]
        if options.rewrites:
            execution = stage.network.execution
            lines += rewrite_graph(model, execution.example_input(stage.network.channels_in, graph.example_shape))
            spec, dropped = leave_final_activation(spec, stage, model)
            lines += dropped
        for line in lines:
            options.report(f"rewritten: {line}")
        rewrites += [f"{graph.graph}: {line}" for line in lines]
    if options.rewrites:
        spec, lines = fold_input_affines(spec, models, options.report)
        rewrites += lines
    return onward(draft, Traced, spec=spec, models=models, rewrites=tuple(rewrites))


def _model(draft: Rewritten, graph: GraphSource, network: Network) -> Any:
    if graph.read is None:
        module = with_one_output(as_traced(draft.rewritten[graph.graph].network), graph.output)
        model = trace_network(
            module,
            network,
            graph.example_shape,
            has_fixed_sides=graph.has_fixed_sides,
            is_window=dict(known_inputs(draft.spec)).get(graph.graph) is not None,
        )
    else:
        model = graph.read(draft.weights[graph.graph])
    if (node := quantised_node(model)) is not None:
        raise WeightsError(
            f"{graph.graph}: expected a network in floating point, got a quantised one ({node}). Give the float model; "
            "brain-edge quantize then makes an INT8 package within a budget"
        )
    if graph.read is not None or graph.has_fixed_sides:
        fit_input(model, network, dict(known_inputs(draft.spec)).get(graph.graph))
    return model


def trace_network(
    module: nn.Module, network: Network, example_shape: Shape, *, has_fixed_sides: bool = False, is_window: bool = False
) -> Any:
    """Convert a module to an OpenVINO model with the open sides of `Execution.open_shape`; the module is unchanged.

    Args:
        module: module in the state to convert.
        network: specification of the network; its input is (1, C, I, J, K) for volumes.
        example_shape: small spatial sides that the network accepts.
        has_fixed_sides: True to leave no side open.
        is_window: True if the steps give `example_shape` alone, so that torch.export may be tried where tracing fails.

    Raises:
        BrainEdgeError: OpenVINO cannot convert the network (the message names the operator), or the network has
            several inputs or outputs.
    """
    import torch

    example = noise(network.execution.example_input(network.channels_in, example_shape))
    # without the shape the converter leaves sides open that a later reshape cannot close (Swin UNETR)
    shapes = {"input": [tuple(example.shape)]} if has_fixed_sides else {}
    # the converter puts the module into evaluation mode: a norm that must run in training mode would change for the
    # parity check too, and the check would compare one wrong network with another
    module = copy.deepcopy(module)
    try:
        traced = _traced(module, example, shapes)
    except Exception as error:  # the converter raises RuntimeError, errors of its own, and torch's
        has_fixed_sides = has_fixed_sides or is_window
        traced = _exported(module, example, error) if has_fixed_sides else None
        if traced is None:
            reason = f"{converter_reason(error)}{advice_for(error) or _remedy(module)}"
            raise BrainEdgeError(f"OpenVINO cannot convert {type(module).__name__}: {reason}") from error
    if len(traced.inputs) != 1:
        raise BrainEdgeError(
            f"expected a network with one input, got {type(module).__name__} with {len(traced.inputs)}; "
            "give a module whose forward takes all sequences as channels of one tensor"
        )
    if len(traced.outputs) != 1:
        with torch.no_grad():
            raise several_outputs(module, module.eval()(example))
    if not has_fixed_sides:
        traced.reshape(list(network.execution.open_shape(network.channels_in)))
    return traced


def _traced(module: nn.Module, example: Any, shapes: Mapping[str, Any]) -> Any:
    """Convert a module by tracing it; a second time without `nearest-exact` where OpenVINO has no rule for that."""
    import torch

    def convert() -> Any:
        with torch.no_grad(), warnings.catch_warnings():
            # PyTorch's own instance norm branches on shapes, which tracing freezes; parity is checked on other shapes
            warnings.simplefilter("ignore", torch.jit.TracerWarning)  # type: ignore[attr-defined]  # public, unlisted
            return import_openvino().convert_model(
                traced_once(_frozen(module), example), example_input=example, **shapes
            )

    try:
        return convert()
    except Exception as error:  # as above
        if OPERATION not in str(error) or isinstance(module, torch.jit.ScriptModule):
            raise
        with WithoutNearestExact():
            return convert()


def _frozen(module: nn.Module) -> nn.Module:
    """Return a scripted program with its attributes as constants, which OpenVINO needs; any other module unchanged."""
    import torch

    if not isinstance(module, torch.jit.ScriptModule) or module.training:
        return module
    try:
        frozen: nn.Module = torch.jit.freeze(module)
    except RuntimeError:  # a program that is frozen already
        return module
    return frozen


def _exported(module: nn.Module, example: Any, error: Exception) -> Any:
    """Convert a module by torch.export, which knows operators that tracing does not; None where that fails too."""
    import torch

    if isinstance(module, torch.jit.ScriptModule):
        return None
    try:
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            program = torch.export.export(module.eval(), (example,))
            model = import_openvino().convert_model(program)
            model.reshape(list(example.shape))
            return model
    except Exception as second:  # noqa: BLE001 - as above; the caller raises what tracing said
        error.add_note(f"by torch.export: {second}")
        return None


def _remedy(module: nn.Module) -> str:
    """Return the words about a program that was scripted, as MONAI's ckpt_export writes model.ts."""
    import torch

    if not isinstance(module, torch.jit.ScriptModule):
        return ""
    return (
        ". The program was scripted; trace it (MONAI: ckpt_export --use_trace True --input_shape ...), or give the "
        "state dict (model.pt)"
    )
