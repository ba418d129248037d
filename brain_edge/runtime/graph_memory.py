"""Memory of a compiled graph when it runs, computed from its execution graph.

The CPU plugin reuses the same memory for intermediate results one after the other. The need of one stream is therefore
the largest sum of results that are still needed at some layer, in the number formats of that layer. Compared with the
measured resident memory, this is low by less than a tenth (docs/concepts/execution.md).
"""

from __future__ import annotations

from math import prod
from typing import Any, Final

from brain_edge.runtime.protocol import GraphMemory

BYTES: Final = {"f64": 8, "i64": 8, "f32": 4, "i32": 4, "u32": 4, "f16": 2, "bf16": 2, "i8": 1, "u8": 1, "boolean": 1}
"""Bytes per number by the format's name in an execution graph; any other format counts as f32."""

_COPYING: Final = "brgconv"
"""Prefix of the names of kernels that copy a padded input."""

_TENSORS: Final = ("Input", "Parameter", "Output", "Result")


def graph_memory_of(requests: list[Any]) -> GraphMemory:
    """Return the memory of the compiled graph that these infer requests belong to."""
    compiled = requests[0].get_compiled_model()
    ports = [*compiled.inputs, *compiled.outputs]
    return GraphMemory(
        intermediate_bytes=intermediate_bytes(compiled.get_runtime_model()),
        tensor_bytes=sum(prod(port.get_shape()) * port.get_element_type().size for port in ports),
        streams=int(compiled.get_property("NUM_STREAMS")),
        requests=len(requests),
    )


def intermediate_bytes(execution_graph: Any) -> int:
    """Return the largest sum of results that are needed at the same time, without weights, input and output."""
    # in the plugin's order, which differs from the graph's own order if a node has several outputs
    nodes = sorted(execution_graph.get_ordered_ops(), key=lambda node: int(_told(node, "execOrder") or 0))
    last_use: dict[tuple[str, int], int] = {}
    for position, node in enumerate(nodes):
        for port in range(node.get_input_size()):
            source = node.input_value(port)
            last_use[source.get_node().get_friendly_name(), source.get_index()] = position
    live = peak = 0
    ending: dict[int, int] = {}
    for position, node in enumerate(nodes):
        taken_over = _added_in_place(node)
        for port, size in enumerate(_result_bytes(node)):
            live += size - taken_over
            end = last_use.get((node.get_friendly_name(), port), position)
            ending[end] = ending.get(end, 0) + size
        if taken_over:
            ending[position] = ending.get(position, 0) - taken_over
        peak = max(peak, live + _padded_copy_bytes(node))
        live -= ending.pop(position, 0)
    return peak


def _added_in_place(node: Any) -> int:
    """Return the bytes of the tensor to which a convolution adds its result, which needs no memory of its own.

    It is the last computed input of the convolution, of the size of its output. The plugin adds in place only if no
    other node needs that tensor.
    """
    if _kind(node) != "Convolution":
        return 0
    computed = [value for value in node.input_values() if _kind(value.get_node()) != "Const"]
    added = computed[-1] if len(computed) > 1 else None
    if added is None or list(added.get_shape()) != list(node.get_output_shape(0)):
        return 0
    return _result_bytes(added.get_node())[int(added.get_index())]


def _padded_copy_bytes(node: Any) -> int:
    """Return the bytes that a running convolution may need: oneDNN's blocked kernels copy an input that needs padding.

    The kernels do not report whether they copy. Kernels of one voxel never copy.
    """
    kernel = _told(node, "primitiveType")
    if _kind(node) != "Convolution" or not kernel.startswith(_COPYING) or "1x1" in kernel:
        return 0
    source = node.input_value(0)
    sizes = _result_bytes(source.get_node())
    return sizes[int(source.get_index())] if sizes else 0


def _result_bytes(node: Any) -> list[int]:
    if _kind(node) in ("Const", *_TENSORS):
        return []
    formats = _told(node, "outputPrecisions").lower().split(",")
    sizes = [prod(node.get_output_shape(port)) for port in range(node.get_output_size())]
    return [size * BYTES.get((formats[port : port + 1] or [""])[0].strip(), 4) for port, size in enumerate(sizes)]


def _kind(node: Any) -> str:
    return _told(node, "layerType") or str(node.get_type_name())


def _told(node: Any, key: str) -> str:
    """Return the plugin's information about a node; empty if there is none."""
    about = node.get_rt_info()
    return str(about[key].astype(str)) if key in about else ""
