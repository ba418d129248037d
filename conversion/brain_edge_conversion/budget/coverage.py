"""How much of a graph became integer: multiply-adds per convolution and matrix product, INT8 or float.

A quantiser in a graph is a wish; the kernel that the CPU plugin has chosen is what computes. Both must be integer: some
transposed convolutions run in f32 although their input is quantised.
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
"""Operations that move integers without computing: what is quantised before them is quantised after them."""

LOOPS: Final = frozenset({"Loop", "TensorIterator", "If"})
"""Operations with graphs of their own, which they run many times, or one of two."""


@dataclass(frozen=True)
class LayerCost:
    """One layer with weights.

    Attributes:
        name: of the node in the graph.
        kind: its operation type.
        multiply_adds: for the input shape that was asked for.
        quantised: whether its activations are quantised in the graph.
        kernel: what computes it, as OpenVINO names it; None while it has not been compiled, empty where the compiled
            graph does not name it.
    """

    name: str
    kind: str
    multiply_adds: int
    quantised: bool
    kernel: str | None = None

    @property
    def integer(self) -> bool:
        """Whether it is computed in integers, as far as is known."""
        return self.quantised and (self.kernel is None or is_integer(self.kernel))


def layer_costs(model: Any, shape: Sequence[int]) -> tuple[LayerCost, ...]:
    """The cost of every weighted layer of an OpenVINO model for an input of `shape` (1, C, I, J, K).

    The model itself keeps its shapes: the costs are taken from a copy.
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
    """The layers in the bodies of loops, which go over the first axis of the input; they are never quantised.

    Of a branch both sides count, unless the shapes decide: the side that never runs has none.
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
    """Share of the multiply-adds that are integer, 0 to 1; 1 for a graph without weights."""
    total = sum(layer.multiply_adds for layer in layers)
    return sum(layer.multiply_adds for layer in layers if layer.integer) / total if total else 1.0


def with_kernels(layers: Sequence[LayerCost], kernels: Mapping[str, str]) -> tuple[LayerCost, ...]:
    """The layers with the kernels that compute them; `kernels` maps names of layers."""
    return tuple(replace(layer, kernel=kernels.get(layer.name, "")) for layer in layers)


def kernel_shares(layers: Sequence[LayerCost]) -> dict[str, float]:
    """Share of the multiply-adds of each kernel, the largest in front."""
    sums: defaultdict[str, int] = defaultdict(int)
    for layer in layers:
        sums[layer.kernel or "not known"] += layer.multiply_adds
    total = sum(sums.values())
    return {kernel: count / total for kernel, count in sorted(sums.items(), key=lambda item: (-item[1], item[0]))}


def _is_quantised(layer: Any) -> bool:
    """Whether the activations that a layer reads come out of a quantiser."""
    return _gives_integers(layer.input_value(0).get_node())


def _gives_integers(node: Any) -> bool:
    kind = node.get_type_name()
    if kind not in TRANSPARENT:
        return bool(kind == "FakeQuantize")
    # a concatenation is as good as the worst of its parts; the others have one input that carries data
    parts = node.input_values() if kind == "Concat" else node.input_values()[:1]
    return all(_gives_integers(part.get_node()) for part in parts)
