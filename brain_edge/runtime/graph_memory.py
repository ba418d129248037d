"""Memory of a compiled graph when it runs, computed from its execution graph.

The CPU plugin gives every intermediate result a place in one block of memory. It takes the results by size, the largest
first, and puts each at the lowest place that no other result has at the same time. The order of results of equal size
follows from an unstable sort, and can cost a place of the largest size. The prediction is therefore the largest block
of several orders (docs/decisions/0051).
"""

from __future__ import annotations

from math import prod
from typing import Any, Final, NamedTuple

import numpy as np

from brain_edge.runtime.protocol import GraphMemory

BYTES: Final = {"f64": 8, "i64": 8, "f32": 4, "i32": 4, "u32": 4, "f16": 2, "bf16": 2, "i8": 1, "u8": 1, "boolean": 1}
"""Bytes per number by the format's name in an execution graph; any other format counts as f32."""

ORDERS: Final = 12
"""Number of orders of results of equal size; the first is that of their computation."""
SMALLEST_SHARE: Final = 1 / 64
"""Smallest size of a result that gets a place, as a share of the largest; smaller ones fill gaps."""

_IN_PLACE: Final = ("Eltwise", "MVN", "Subgraph")
_TENSORS: Final = ("Input", "Parameter", "Output", "Result")


def graph_memory_of(requests: list[Any], shape: tuple[int, ...]) -> GraphMemory:
    """Return the memory of the compiled graph that these infer requests belong to, for an input of this shape.

    An input of open shape, of planes that the graph copies, has at most the planes of the network's input.
    """
    compiled = requests[0].get_compiled_model()
    sides = [port.get_partial_shape() for port in (*compiled.inputs, *compiled.outputs)]
    kinds = [port.get_element_type().size for port in (*compiled.inputs, *compiled.outputs)]
    return GraphMemory(
        intermediate_bytes=intermediate_bytes(compiled.get_runtime_model(), shape),
        tensor_bytes=sum(
            size * prod(each.to_shape() if each.is_static else shape) for each, size in zip(sides, kinds, strict=True)
        ),
        streams=int(compiled.get_property("NUM_STREAMS")),
        requests=len(requests),
    )


class Lifetime(NamedTuple):
    """An intermediate result.

    Attributes:
        first: position of the layer that computes it.
        last: position of the last layer that reads it.
        size: bytes.
    """

    first: int
    last: int
    size: int


def intermediate_bytes(execution_graph: Any, shape: tuple[int, ...] = ()) -> int:
    """Return the bytes of the block that holds all intermediate results, without weights, input and output.

    A result of open shape counts as one of the shape of the network's input.
    """
    results = lifetimes(execution_graph, shape)
    least = SMALLEST_SHARE * max((result.size for result in results), default=0)
    placed = [result for result in results if result.size >= least]
    rng = np.random.default_rng(0)
    orders = [range(len(placed)), *(rng.permutation(len(placed)) for _ in range(ORDERS - 1))]
    return max(block_bytes([placed[at] for at in order]) for order in orders)


def lifetimes(execution_graph: Any, shape: tuple[int, ...] = ()) -> list[Lifetime]:
    """Return the intermediate results in the order of their computation; results in one place are one.

    Results of open shape count as results of the shape that is given.
    """
    # in the plugin's order, which differs from the graph's own order if a node has several outputs
    nodes = sorted(execution_graph.get_ordered_ops(), key=lambda node: int(_told(node, "execOrder") or 0))
    last_use: dict[tuple[str, int], int] = {}
    for position, node in enumerate(nodes):
        for port in range(node.get_input_size()):
            source = node.input_value(port)
            last_use[source.get_node().get_friendly_name(), source.get_index()] = position
    found: dict[tuple[str, int], Lifetime] = {}
    for position, node in enumerate(nodes):
        given = _taken_over(node)
        for port, size in enumerate(_result_bytes(node, shape)):
            key = (node.get_friendly_name(), port)
            last = last_use.get(key, position)
            before = found.get(given) if given is not None and port == 0 else None
            if given is not None and before is not None and before.size == size:
                del found[given]
                found[key] = Lifetime(before.first, last, size)
            else:
                found[key] = Lifetime(position, last, size)
    return list(found.values())


def block_bytes(results: list[Lifetime]) -> int:
    """Return the bytes of a block with a place for each result, the largest results first, equal ones in this order."""
    placed: list[tuple[int, Lifetime]] = []
    for result in sorted(results, key=lambda each: -each.size):
        place = 0
        beside = [(at, other) for at, other in placed if other.first <= result.last and result.first <= other.last]
        for at, other in sorted(beside):
            if at < place + result.size and place < at + other.size:
                place = at + other.size
        placed.append((place, result))
    return max((at + result.size for at, result in placed), default=0)


def _taken_over(node: Any) -> tuple[str, int] | None:
    """Return the name and port of the tensor whose place the result of a node takes; None without one.

    A convolution adds its result to its last computed input, if nothing else reads that tensor. Operations by voxel and
    norms write over their first one, if nothing else reads any of theirs.
    """
    kind = _kind(node)
    computed = [value for value in node.input_values() if _kind(value.get_node()) != "Const"]
    if kind == "Convolution" and len(computed) > 1:
        given, unshared = computed[-1], computed[-1:]
    elif kind in _IN_PLACE and computed:
        given, unshared = computed[0], computed
    else:
        return None
    alone = all(len(value.get_target_inputs()) == 1 for value in unshared)
    if not alone or _kind(given.get_node()) in _TENSORS:
        return None
    if given.get_partial_shape() != node.get_output_partial_shape(0):
        return None
    return str(given.get_node().get_friendly_name()), int(given.get_index())


def _result_bytes(node: Any, shape: tuple[int, ...]) -> list[int]:
    if _kind(node) in ("Const", *_TENSORS):
        return []
    formats = _told(node, "outputPrecisions").lower().split(",")
    shapes = [node.get_output_partial_shape(port) for port in range(node.get_output_size())]
    sizes = [prod(each.to_shape() if each.is_static else shape) for each in shapes]
    return [size * BYTES.get((formats[port : port + 1] or [""])[0].strip(), 4) for port, size in enumerate(sizes)]


def _kind(node: Any) -> str:
    return _told(node, "layerType") or str(node.get_type_name())


def _told(node: Any, key: str) -> str:
    """Return the plugin's information about a node; empty if there is none."""
    about = node.get_rt_info()
    return str(about[key].astype(str)) if key in about else ""
