"""Read-only queries about the nodes of an OpenVINO graph, shared by all rewrites."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

QUANTISER = "FakeQuantize"


def kind(node: Any) -> str:
    """Return the operation type, such as `Convolution`."""
    return str(node.get_type_name())


def producer(node: Any, port: int) -> Any:
    """Return the node that an input comes from."""
    return node.input_value(port).get_node()


def consumers(node: Any) -> list[Any]:
    """Return the nodes that read the first output; a node that reads it twice is listed twice."""
    return [target.get_node() for target in node.output(0).get_target_inputs()]


def only_consumer(node: Any) -> Any | None:
    """Return the single node that reads the only output of a node, or None."""
    readers = consumers(node) if node.get_output_size() == 1 else []
    return readers[0] if len(readers) == 1 else None


def constant(node: Any) -> npt.NDArray[Any] | None:
    """Return a copy of a constant's values, in their own type; None for any other node."""
    return np.array(node.data) if kind(node) == "Constant" else None


def weights(node: Any) -> npt.NDArray[np.float32] | None:
    """Return the float32 constant at the second input; None for anything else, such as a quantised weight."""
    data = constant(producer(node, 1))
    return data if data is not None and data.dtype == np.float32 else None


def added_bias(node: Any) -> tuple[Any, npt.NDArray[np.float32]] | None:
    """Return the addition of a bias (C,) that is the only reader of a node's output, and the bias; or None."""
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
    """Reshape numbers (C,) to (1, C, 1, ...), so that they can be added to a tensor."""
    return np.ascontiguousarray(numbers.reshape(1, -1, *(1 for _ in range(spatial_axes))), dtype=np.float32)


def sized_copy(model: Any, shape: Sequence[int]) -> dict[str, Any]:
    """Name -> node of a copy of a one-input graph, with the shapes for an input of `shape`.

    A name that two nodes share is left out, because it is ambiguous.
    """
    copy = model.clone()
    copy.reshape(list(shape))
    nodes: dict[str, list[Any]] = {}
    for node in copy.get_ordered_ops():
        nodes.setdefault(node.get_friendly_name(), []).append(node)
    return {name: alike[0] for name, alike in nodes.items() if len(alike) == 1}
