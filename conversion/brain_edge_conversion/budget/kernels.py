"""What computes a package here: asked of the graphs that OpenVINO has compiled on this CPU, every node of them.

Most kernels say in their names which instructions they use (`jit_avx2_I8`, `brgconv_avx512_f32`, `jit_avx512_i8`): the
share of integer multiply-adds is counted by them, and they tell what `ONEDNN_MAX_CPU_ISA` has bound where older CPUs
are imitated. It binds oneDNN, which computes convolutions, and not the norms and interpolations of the CPU plugin.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from math import prod
from typing import TYPE_CHECKING, Any, Final

from brain_edge.bench.operations import compile_model
from brain_edge.bench.profile import NOT_COMPUTED, graph_as_it_runs
from brain_edge.evaluation.evidence import NodeKernel
from brain_edge.runtime.session import compile_properties
from brain_edge.spec import Value
from brain_edge_conversion.budget.coverage import LayerCost, layer_costs, with_kernels

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from brain_edge.bench.counted import Input
    from brain_edge.machine.options import RuntimeOptions
    from brain_edge.package import ModelPackage

NEWER: Final = {"avx512": "AVX-512", "avx10": "AVX10", "amx": "AMX", "vnni": "VNNI"}
"""What stands in the names of kernels that a CPU with no more than AVX2 could not run -> its name."""
OLDER: Final = ("avx", "sse")
"""What stands in the names of the others that name their instructions."""
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
"""What OpenVINO calls a node -> what a reader calls it."""


class Executed(Value, frozen=True):
    """What this process computes a package with, on inputs of certain shapes.

    Attributes:
        shapes: per graph, of its input.
        layers: per graph, its layers with weights, each with its kernel.
        nodes: all that is executed.
    """

    shapes: dict[str, tuple[int, ...]]
    layers: dict[str, tuple[LayerCost, ...]]
    nodes: tuple[NodeKernel, ...]

    @property
    def all_layers(self) -> list[LayerCost]:
        """Of all graphs."""
        return [layer for layers in self.layers.values() for layer in layers]


def largest_shapes(seen: Iterable[Input]) -> dict[str, tuple[int, ...]]:
    """Per graph, the shape of its largest input: what the plugin refuses in INT8, it refuses by size."""
    return {each.graph: each.shape for each in sorted(seen, key=lambda each: prod(each.shape))}


def executed_package(package: ModelPackage, shapes: Mapping[str, tuple[int, ...]], runtime: RuntimeOptions) -> Executed:
    """What this process would compute the graphs of a package with, rewritten as they are when it runs."""
    # without the flush of small numbers, which would stay with this thread
    properties = compile_properties(package.manifest.precision, runtime)
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
    """The kernels that no CPU with AVX2 alone could run."""
    return sorted({kernel for kernel in kernels if any(word in kernel.lower() for word in NEWER)})


def ran_in_words(nodes: Iterable[NodeKernel]) -> str:
    """Which kinds of nodes ran under which instructions; those whose kernels do not name any are not claimed for any.

    >>> ran_in_words((NodeKernel("MVN", "jit_avx512_i8", 34), NodeKernel("Convolution", "jit_avx2_I8", 9)))
    'convolutions under AVX2, norms under AVX-512'
    """
    kinds: defaultdict[str, dict[str, None]] = defaultdict(dict)
    for node in nodes:
        kinds[_instructions(node.kernel)].setdefault(KINDS.get(node.kind, node.kind))
    order = ("AVX2", *NEWER.values())
    return ", ".join(f"{_listed(list(kinds[name]))} under {name}" for name in order if name in kinds)


def executed_kernels(executed: Any, layers: set[str]) -> dict[str, str]:
    """Each layer with the kernel of the node into which the plugin has fused it."""
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
    """The instructions in a kernel's name; those of every CPU with AVX2 are called so, and none are empty."""
    lower = kernel.lower()
    older = "AVX2" if any(word in lower for word in OLDER) else ""
    return next((name for word, name in NEWER.items() if word in lower), older)


def _listed(words: list[str]) -> str:
    return " and ".join(filter(None, (", ".join(words[:-1]), words[-1])))
