"""Ranking of layer groups: the error that a graph loses when a group runs in float, per time that float costs.

The ranking is deliberately cheap: it uses the middle of a few cached inputs, without NNCF and without masks. It only
sets the order in which groups are tried on whole volumes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from brain_edge.bench.operations import compile_model
from brain_edge.package import Precision, graph_path
from brain_edge.runtime.library import read_model
from brain_edge.runtime.session import compile_properties
from brain_edge_conversion.budget.capture import load_inputs, middle
from brain_edge_conversion.budget.coverage import layer_costs
from brain_edge_conversion.quantize.networks import groups, with_float_layers

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from brain_edge.image.volume import FloatArray
    from brain_edge.machine.options import RuntimeOptions
    from brain_edge_conversion.quantize.policy import Group

PATCH: Final = 96
"""Side of a patch in voxels; networks can halve it five times."""
PATCHES: Final = 2
"""Number of inputs per graph."""

COST_FACTORS: Final[Mapping[str, float]] = {
    "Convolution": 3.7,
    "ConvolutionBackpropData": 1.2,
    "GroupConvolution": 1.2,
    "GroupConvolutionBackpropData": 1.2,
    "MatMul": 4.1,
}
"""Time in f32 / time in INT8 on AVX512-VNNI. Convolutions: median of three whole networks (3.4, 3.7, 4.0). Others:
chains of single layers with 64 to 384 channels; grouped layers and layers that double a grid are limited by memory.
`benchmarks/cost_factors.py` measures such chains on any machine: with AVX2 alone (Zen 3, idle) 1.9, 1.0, 1.1, 1.0 and
0.9, the same order except for MatMul. The table is fixed nevertheless and stored with each run, so that the same search
makes the same trials on every machine."""


def rank_groups(
    originals: Mapping[str, Any],
    trial: Path,
    inputs: Mapping[str, Sequence[Path]],
    runtime: RuntimeOptions,
    report: Callable[[str], None],
) -> tuple[Group, ...]:
    """Return all groups of the quantised graphs in `trial`, largest gain per cost first.

    Args:
        originals: name of a graph -> the float graph that was quantised.
        trial: folder of the quantised graphs.
        inputs: `.npy` files of inputs of each graph.
        runtime: threads.
        report: function that receives progress lines.
    """
    scored: list[tuple[float, Group]] = []
    for graph, original in originals.items():
        scored.extend(_scored(_Graph(original, trial, graph, runtime), inputs[graph], report))
    # sorted is stable: equal scores stay in the order of the graph
    return tuple(group for _, group in sorted(scored, key=lambda item: item[0], reverse=True))


class _Graph:
    """Graph in float and quantised form, with the error of its variants against float."""

    def __init__(self, original: Any, trial: Path, graph: str, runtime: RuntimeOptions) -> None:
        self.name = graph
        self._properties = compile_properties(Precision.F32, runtime)
        self.original = original
        self.quantised = read_model(trial / graph_path(graph))

    def outputs(self, model: Any, patches: Sequence[FloatArray]) -> list[FloatArray]:
        """Return the outputs of a variant, one per patch."""
        sized = model.clone()
        sized.reshape(list(patches[0].shape))
        request = compile_model(sized, self._properties).create_infer_request()
        return [np.array(request.infer({0: patch})[0]) for patch in patches]

    def error(self, model: Any, patches: Sequence[FloatArray], wanted: Sequence[FloatArray]) -> float:
        """Return the mean absolute difference from the float graph's outputs `wanted`."""
        got = self.outputs(model, patches)
        return float(np.mean([np.abs(a - b).mean() for a, b in zip(got, wanted, strict=True)]))


def _scored(graph: _Graph, inputs: Sequence[Path], report: Callable[[str], None]) -> list[tuple[float, Group]]:
    """Return every group with its score: the fraction of the error that float removes, per added cost."""
    patches = [_middle(batch, graph.original) for batch in load_inputs(inputs[:PATCHES])]
    patches = [patch for patch in patches if patch.shape == patches[0].shape]
    wanted = graph.outputs(graph.original, patches)
    whole = graph.error(graph.quantised, patches, wanted)
    costs = {
        layer.name: layer.multiply_adds * (COST_FACTORS[layer.kind] - 1)
        for layer in layer_costs(graph.quantised, patches[0].shape)
    }
    candidates = groups(graph.quantised, graph.name)
    report(f"ranking {len(candidates)} group(s) of layers of {graph.name}")
    scored = []
    for group in candidates:
        left = graph.error(with_float_layers(graph.quantised, graph.original, group.layers), patches, wanted)
        gain = (whole - left) / whole if whole > 0 else 0.0
        scored.append((gain / sum(costs[layer] for layer in group.layers), group))
    return scored


def _middle(batch: FloatArray, model: Any) -> FloatArray:
    """Return the central patch of an input; the whole input if the graph has fixed sides."""
    if not model.inputs[0].partial_shape.is_dynamic:
        return batch
    return middle(batch, [PATCH] * 3)
