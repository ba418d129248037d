"""Questions that every rewrite of an OpenVINO graph asks of a node. Nothing here changes a graph."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

QUANTISER = "FakeQuantize"


def kind(node: Any) -> str:
    """The operation type, such as `Convolution`."""
    return str(node.get_type_name())


def producer(node: Any, port: int) -> Any:
    """The node that an input comes from."""
    return node.input_value(port).get_node()


def consumers(node: Any) -> list[Any]:
    """The nodes that read the first output; a node that reads it twice is there twice."""
    return [target.get_node() for target in node.output(0).get_target_inputs()]


def only_consumer(node: Any) -> Any | None:
    """The one node that reads the only output of a node, or None."""
    readers = consumers(node) if node.get_output_size() == 1 else []
    return readers[0] if len(readers) == 1 else None


def constant(node: Any) -> npt.NDArray[Any] | None:
    """A copy of what a constant holds, in the type that it has; None for any other node."""
    return np.array(node.data) if kind(node) == "Constant" else None


def weights(node: Any) -> npt.NDArray[np.float32] | None:
    """The float32 constant at the second input; None where it is something else, a quantised weight for example."""
    data = constant(producer(node, 1))
    return data if data is not None and data.dtype == np.float32 else None


def added_bias(node: Any) -> tuple[Any, npt.NDArray[np.float32]] | None:
    """The addition of one number per channel that alone reads a node's output, and these numbers (C,); or None."""
    addition = only_consumer(node)
    if addition is None or kind(addition) != "Add":
        return None
    numbers = next((data for port in (0, 1) if (data := constant(producer(addition, port))) is not None), None)
    shape = node.get_output_partial_shape(0)
    if numbers is None or numbers.dtype != np.float32 or not shape[1].is_static:
        return None
    if numbers.shape != (1, shape[1].get_length(), *(1 for _ in range(len(shape) - 2))):
        return None
    return addition, numbers.reshape(-1)


def per_channel(numbers: npt.NDArray[np.float32], spatial_axes: int) -> npt.NDArray[np.float32]:
    """Numbers (C,) as (1, C, 1, ...), to be added to a tensor."""
    return np.ascontiguousarray(numbers.reshape(1, -1, *(1 for _ in range(spatial_axes))), dtype=np.float32)


def sized_copy(model: Any, shape: Sequence[int]) -> dict[str, Any]:
    """The nodes of a copy of a graph of one input, whose shapes are those for an input of `shape`, by their names.

    A name that two nodes share is left out: nobody could say which is meant.
    """
    copy = model.clone()
    copy.reshape(list(shape))
    nodes: dict[str, list[Any]] = {}
    for node in copy.get_ordered_ops():
        nodes.setdefault(node.get_friendly_name(), []).append(node)
    return {name: alike[0] for name, alike in nodes.items() if len(alike) == 1}
