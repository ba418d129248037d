"""Which kernels compute a quantised package: asked of the graphs that OpenVINO has compiled on this CPU.

oneDNN says in a kernel's name which instructions it uses (`jit_avx2_I8`, `brgconv_avx512_f32`): the share of integer
multiply-adds is counted by it, and it proves that `ONEDNN_MAX_CPU_ISA` was in force where older CPUs are imitated.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from brain_edge.bench.operations import WEIGHTED, compile_model
from brain_edge.package import graph_path
from brain_edge.runtime.graph_file import read_graph
from brain_edge.runtime.session import compile_properties

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from brain_edge.machine.options import RuntimeOptions
    from brain_edge.package import ModelPackage

MORE_THAN_AVX2: Final = ("avx512", "avx10", "amx", "vnni")
"""What stands in the names of kernels that a CPU with no more than AVX2 could not run."""


def input_shapes(inputs: Mapping[str, Sequence[Path]]) -> dict[str, tuple[int, ...]]:
    """Per graph, the shape (1, C, I, J, K) of the first of its `.npy` inputs."""
    return {graph: np.load(files[0], mmap_mode="r").shape for graph, files in inputs.items()}


def package_kernels(
    package: ModelPackage, shapes: Mapping[str, Sequence[int]], runtime: RuntimeOptions
) -> dict[str, dict[str, str]]:
    """Per graph, layer with weights -> kernel, as this process would run the package on inputs of these shapes."""
    properties = compile_properties(package.manifest.precision, runtime)
    found = {}
    for graph in package.spec.graphs:
        model = read_graph(package.folder / graph_path(graph), package.spec)
        model.reshape(list(shapes[graph]))
        layers = {node.get_friendly_name() for node in model.get_ops() if node.get_type_name() in WEIGHTED}
        found[graph] = executed_kernels(compile_model(model, properties).get_runtime_model(), layers)
    return found


def newer_than_avx2(kernels: Iterable[str]) -> list[str]:
    """The kernels that no CPU with AVX2 alone could run."""
    return sorted({kernel for kernel in kernels if any(word in kernel.lower() for word in MORE_THAN_AVX2)})


def executed_kernels(executed: Any, layers: set[str]) -> dict[str, str]:
    """Each layer with the kernel of the node into which the plugin has fused it."""
    kernels = {}
    for node in executed.get_ordered_ops():
        told = node.get_rt_info()
        names = told["originalLayersNames"].astype(str).split(",") if "originalLayersNames" in told else []
        kernels.update(dict.fromkeys(layers.intersection(names), told["primitiveType"].astype(str)))
    return kernels
