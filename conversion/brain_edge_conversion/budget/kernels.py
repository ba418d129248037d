"""Kernels that run a package on this CPU, read from every node of the graphs that OpenVINO compiled.

Most kernel names state the ISA (`jit_avx2_I8`, `brgconv_avx512_f32`, `jit_avx512_i8`). The INT8 share is counted from
these names. They also show which nodes `ONEDNN_MAX_CPU_ISA` bound in an imitation of an older CPU: the variable binds
oneDNN, which computes convolutions, not the norms and interpolations of the CPU plugin.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from math import prod
from typing import TYPE_CHECKING, Any, Final

from brain_edge.bench.operations import compile_model
from brain_edge.bench.profile import NOT_COMPUTED, graph_as_it_runs
from brain_edge.evaluation.evidence import NodeKernel
from brain_edge.runtime.session import compile_properties, precision_here
from brain_edge.spec import Value
from brain_edge_conversion.budget.coverage import LayerCost, layer_costs, with_kernels

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from brain_edge.bench.counted import Input
    from brain_edge.machine.options import RuntimeOptions
    from brain_edge.package import ModelPackage

NEWER: Final = {"avx512": "AVX-512", "avx10": "AVX10", "amx": "AMX", "vnni": "VNNI"}
"""Part of a kernel's name -> instruction set; a CPU with no more than AVX2 cannot run these kernels."""
OLDER: Final = ("avx", "sse")
"""Parts of the names of kernels that need no more than AVX2."""
KINDS: Final = {
    "Convolution": "convolutions",
    "Deconvolution": "transposed convolutions",
    "FullyConnected": "matrix products",
    "MatMul": "matrix products",
    "MVN": "norms",
    "Interpolate": "interpolations",
    "Pooling": "pooling",
    "Subgraph": "element-wise operations",
    "Eltwise": "element-wise operations",
}
"""OpenVINO's type of a node -> the word for a reader."""


class Executed(Value, frozen=True):
    """Kernels with which this process runs a package on inputs of given shapes.

    Attributes:
        shapes: input shape of each graph.
        layers: weighted layers of each graph, with their kernels.
        nodes: all executed nodes, counted by type and kernel.
    """

    shapes: dict[str, tuple[int, ...]]
    layers: dict[str, tuple[LayerCost, ...]]
    nodes: tuple[NodeKernel, ...]

    @property
    def all_layers(self) -> list[LayerCost]:
        """Weighted layers of all graphs."""
        return [layer for layers in self.layers.values() for layer in layers]


def largest_shapes(seen: Iterable[Input]) -> dict[str, tuple[int, ...]]:
    """Graph -> shape of its largest input; the plugin refuses INT8 by size."""
    return {each.graph: each.shape for each in sorted(seen, key=lambda each: prod(each.shape))}


def executed_package(package: ModelPackage, shapes: Mapping[str, tuple[int, ...]], runtime: RuntimeOptions) -> Executed:
    """Return the kernels of a package's graphs, compiled here with the rewrites of a normal run."""
    # without flushing denormals to zero: the setting would stay with this thread
    properties = compile_properties(precision_here(package.manifest.precision), runtime)
    layers: dict[str, tuple[LayerCost, ...]] = {}
    counts: Counter[tuple[str, str]] = Counter()
    for graph in package.spec.graphs:
        model = graph_as_it_runs(package, runtime, graph, shapes[graph])
        executed = compile_model(model, properties).get_runtime_model()
        costs = layer_costs(model, shapes[graph])
        layers[graph] = with_kernels(costs, executed_kernels(executed, {layer.name for layer in costs}))
        counts.update(_kinds_and_kernels(executed))
    nodes = tuple(NodeKernel(kind, kernel, count) for (kind, kernel), count in sorted(counts.items()))
    return Executed(dict(shapes), layers, nodes)


def newer_than_avx2(kernels: Iterable[str]) -> list[str]:
    """Return the kernels that a CPU with AVX2 alone cannot run."""
    return sorted({kernel for kernel in kernels if any(word in kernel.lower() for word in NEWER)})


def ran_in_words(nodes: Iterable[NodeKernel]) -> str:
    """Return the node types that ran under each ISA, in words; kernels whose names state no ISA are left out.

    >>> ran_in_words((NodeKernel("MVN", "jit_avx512_i8", 34), NodeKernel("Convolution", "jit_avx2_I8", 9)))
    'convolutions under AVX2, norms under AVX-512'
    """
    kinds: defaultdict[str, dict[str, None]] = defaultdict(dict)
    for node in nodes:
        kinds[_instructions(node.kernel)].setdefault(KINDS.get(node.kind, node.kind))
    order = ("AVX2", *NEWER.values())
    return ", ".join(f"{_listed(list(kinds[name]))} under {name}" for name in order if name in kinds)


def executed_kernels(executed: Any, layers: set[str]) -> dict[str, str]:
    """Layer -> kernel of the node into which the plugin fused the layer."""
    kernels = {}
    for node in executed.get_ordered_ops():
        told = node.get_rt_info()
        names = told["originalLayersNames"].astype(str).split(",") if "originalLayersNames" in told else []
        kernels.update(dict.fromkeys(layers.intersection(names), told["primitiveType"].astype(str)))
    return kernels


def _kinds_and_kernels(executed: Any) -> Iterator[tuple[str, str]]:
    for node in executed.get_ordered_ops():
        told = node.get_rt_info()
        kind = told["layerType"].astype(str)
        if kind not in NOT_COMPUTED:
            yield kind, told["primitiveType"].astype(str)


def _instructions(kernel: str) -> str:
    """Return the ISA in a kernel's name: AVX2 for every ISA up to AVX2, empty if the name states none."""
    lower = kernel.lower()
    older = "AVX2" if any(word in lower for word in OLDER) else ""
    return next((name for word, name in NEWER.items() if word in lower), older)


def _listed(words: list[str]) -> str:
    return " and ".join(filter(None, (", ".join(words[:-1]), words[-1])))
