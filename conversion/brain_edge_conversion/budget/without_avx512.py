"""Layers that OpenVINO's CPU plugin refuses to run in INT8 on a CPU without AVX-512, and packages that imitate this.

The plugin asks the CPU itself, not `ONEDNN_MAX_CPU_ISA`. A process that imitates an older CPU would therefore run these
layers in INT8, and the older CPU runs them in float. The rule is `Deconvolution::canBeExecutedInInt8` in
`src/plugins/intel_cpu/src/nodes/deconv.cpp` of OpenVINO; decision 0037 says how it was compared with an older CPU.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final

from brain_edge.bench.operations import value_of
from brain_edge.evaluation.evidence import FloatLayer
from brain_edge.package import ModelPackage, graph_path
from brain_edge.runtime.graph_file import read_graph
from brain_edge.runtime.library import operations
from brain_edge_conversion.budget.coverage import layer_costs
from brain_edge_conversion.sealing.graph import save_graph

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

TRANSPOSED: Final = frozenset({"ConvolutionBackpropData", "GroupConvolutionBackpropData"})
MOST_INT8_WORK: Final = 2**26
"""The plugin's upper bound for INT8: input channels squared times output voxels, without the batch."""
LARGEST_STRIDE: Final = 3
"""The plugin's largest stride along the last axis for INT8."""


def refused_in_int8(layer: Any) -> str:
    """Return the reason why a layer of a model of static shape runs in float without AVX-512; empty if it does not."""
    if layer.get_type_name() not in TRANSPOSED:
        return ""
    weights = list(layer.input_value(1).shape)
    channels = weights[0] * weights[1] if layer.get_type_name().startswith("Group") else weights[0]
    work = channels**2 * math.prod(layer.output(0).shape[2:])
    if work > MOST_INT8_WORK:
        return f"input channels squared x voxels are {work / MOST_INT8_WORK:.3g} times 2^26"
    stride = layer.get_attributes()["strides"][-1]
    return f"its stride of {stride} is above {LARGEST_STRIDE}" if stride > LARGEST_STRIDE else ""


def without_avx512(
    package: ModelPackage, shapes: Mapping[str, tuple[int, ...]], folder: Path
) -> tuple[ModelPackage, tuple[FloatLayer, ...]]:
    """Return a package whose layers run in float where a CPU without AVX-512 runs them in float, and these layers.

    The layers keep the quantised values of their weights and activations, as on such a CPU; only the kernel differs.

    Args:
        package: INT8 package, sealed or not.
        shapes: shape of the largest input of each graph.
        folder: empty folder for the graphs.
    """
    found: list[FloatLayer] = []
    for graph in package.spec.graphs:
        model = read_graph(package.graph_file(graph), package.spec)
        layers = _refused_layers(model, graph, shapes[graph])
        names = {layer.layer for layer in layers}
        for node in model.get_ordered_ops():
            if node.get_friendly_name() in names:
                # without a quantiser of its weights a layer is float
                weights = operations().constant(value_of(node.input_value(1)))
                node.input(1).replace_source_output(weights.output(0))
        save_graph(model, folder / graph_path(graph), package.spec)
        found += layers
    return ModelPackage(folder, package.manifest), tuple(found)


def layers_without_avx512(package: ModelPackage, shapes: Mapping[str, tuple[int, ...]]) -> tuple[FloatLayer, ...]:
    """Return the layers that a CPU without AVX-512 runs in float although they are quantised.

    Args:
        package: INT8 package, sealed or not.
        shapes: shape of the largest input of each graph.
    """
    models = {graph: read_graph(package.graph_file(graph), package.spec) for graph in package.spec.graphs}
    return tuple(layer for graph, model in models.items() for layer in _refused_layers(model, graph, shapes[graph]))


def _refused_layers(model: Any, graph: str, shape: tuple[int, ...]) -> list[FloatLayer]:
    sized = model.clone()
    sized.reshape(list(shape))
    reasons = {node.get_friendly_name(): refused_in_int8(node) for node in sized.get_ordered_ops()}
    return [
        FloatLayer(graph, layer.name, layer.kind, layer.multiply_adds, f"OpenVINO refuses INT8: {reasons[layer.name]}")
        for layer in layer_costs(model, shape)
        if layer.quantised and reasons.get(layer.name)
    ]
