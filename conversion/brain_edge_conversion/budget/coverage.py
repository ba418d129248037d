"""INT8 share of a graph: multiply-accumulates of each convolution and matrix product, INT8 or float.

A quantiser in a graph is only a request; the kernel chosen by the CPU plugin computes. A layer counts as INT8 only if
its input is quantised and its kernel is integer: some transposed convolutions run in f32 on a quantised input.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from brain_edge.bench.operations import WEIGHTED, bodies_of, is_integer, multiply_adds

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

TRANSPARENT: Final = frozenset(
    {"Concat", "MaxPool", "Pad", "Reshape", "Slice", "Split", "Squeeze", "StridedSlice", "Transpose", "Unsqueeze"}
)
"""Operations that move integers without computing; a quantised input gives a quantised output."""

LOOPS: Final = frozenset({"Loop", "TensorIterator", "If"})
"""Operations with inner graphs: a loop runs its body many times, `If` runs one of two."""


@dataclass(frozen=True)
class LayerCost:
    """One layer with weights.

    Attributes:
        name: name of the node in the graph.
        kind: operation type of the node.
        multiply_adds: number of multiply-accumulates for the given input shape.
        quantised: True if the graph quantises the layer's activations.
        kernel: OpenVINO's name of the kernel that runs the layer; None before compiling, empty if the compiled graph
            does not name a kernel.
    """

    name: str
    kind: str
    multiply_adds: int
    quantised: bool
    kernel: str | None = None

    @property
    def integer(self) -> bool:
        """True if the layer runs in integers, as far as its kernel is known."""
        return self.quantised and (self.kernel is None or is_integer(self.kernel))


def layer_costs(model: Any, shape: Sequence[int]) -> tuple[LayerCost, ...]:
    """Return the cost of every weighted layer of an OpenVINO model for an input of `shape` (1, C, I, J, K).

    The model keeps its own shapes: the costs are taken from a copy.
    """
    sized = model.clone()
    sized.reshape(list(shape))
    nodes = [node for node in sized.get_ordered_ops() if node.get_type_name() in WEIGHTED]
    costs = [
        LayerCost(node.get_friendly_name(), node.get_type_name(), multiply_adds(node), _is_quantised(node))
        for node in nodes
    ]
    return (*costs, *_loop_costs(sized, shape[0]))


def _loop_costs(model: Any, rounds: int) -> Iterator[LayerCost]:
    """Yield the layers in loop bodies; a loop runs over the first axis of the input, and its layers stay in float.

    Both sides of an `If` count, unless the shapes decide: the side that never runs has no shape.
    """
    for loop in model.get_ordered_ops():
        for body in bodies_of(loop):
            for node in body.get_ordered_ops():
                if node.get_type_name() in WEIGHTED and not (loop.get_type_name() == "If" and _has_no_shape(node)):
                    name = f"{loop.get_friendly_name()}/{node.get_friendly_name()}"
                    yield LayerCost(name, node.get_type_name(), rounds * multiply_adds(node), quantised=False)


def _has_no_shape(node: Any) -> bool:
    return bool(node.get_output_partial_shape(0).is_dynamic)


def int8_share(layers: Sequence[LayerCost]) -> float:
    """Fraction of the multiply-accumulates that run in INT8, 0 to 1; 1 for a graph without weights."""
    total = sum(layer.multiply_adds for layer in layers)
    return sum(layer.multiply_adds for layer in layers if layer.integer) / total if total else 1.0


def with_kernels(layers: Sequence[LayerCost], kernels: Mapping[str, str]) -> tuple[LayerCost, ...]:
    """Return the layers with their kernels; `kernels` maps a layer's name to its kernel."""
    return tuple(replace(layer, kernel=kernels.get(layer.name, "")) for layer in layers)


def kernel_shares(layers: Sequence[LayerCost]) -> dict[str, float]:
    """Kernel -> fraction of the multiply-accumulates that it runs, largest first."""
    sums: defaultdict[str, int] = defaultdict(int)
    for layer in layers:
        sums[layer.kernel or "not known"] += layer.multiply_adds
    total = sum(sums.values())
    return {kernel: count / total for kernel, count in sorted(sums.items(), key=lambda item: (-item[1], item[0]))}


def _is_quantised(layer: Any) -> bool:
    """Return True if the layer's activations come from a quantiser."""
    return _gives_integers(layer.input_value(0).get_node())


def _gives_integers(node: Any) -> bool:
    kind = node.get_type_name()
    if kind not in TRANSPARENT:
        return bool(kind == "FakeQuantize")
    # a concatenation is quantised only if all its parts are; the other operations have one data input
    parts = node.input_values() if kind == "Concat" else node.input_values()[:1]
    return all(_gives_integers(part.get_node()) for part in parts)
