"""Quantised layers of an OpenVINO graph: integers, steps, biases and the range of the input, read and replaced.

Only constants change. The operations of the graph stay as they are, and so does its speed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from brain_edge.bench.operations import WEIGHTED
from brain_edge.runtime.library import operations

if TYPE_CHECKING:
    from collections.abc import Sequence

    from brain_edge.image.volume import FloatArray


@dataclass(frozen=True)
class Quantiser:
    """Range of a quantised activation.

    Attributes:
        low, high: least and largest value that is not clipped.
        levels: number of values.
    """

    low: float
    high: float
    levels: int

    @property
    def step(self) -> float:
        """Difference of two neighbouring values."""
        return (self.high - self.low) / (self.levels - 1)

    def __call__(self, values: FloatArray) -> FloatArray:
        """Return the values as the quantiser passes them on."""
        low, step = np.float32(self.low), np.float32(self.step)
        return np.asarray(np.rint((np.clip(values, low, np.float32(self.high)) - low) / step) * step + low)

    def clipped_share(self, values: FloatArray) -> float:
        """Return the share of values outside of the range by more than half a step, 0 to 1."""
        half = self.step / 2
        return float(np.mean((values < self.low - half) | (values > self.high + half)))

    def narrowed(self, share: float) -> Quantiser:
        """Return a quantiser of a share of the range; zero stays one of its values."""
        step, below = self.step * share, math.floor(-self.low / self.step + 0.5)
        return Quantiser(-below * step, (self.levels - 1 - below) * step, self.levels)


class Int8Layer:
    """Layer whose weights are integers with one step for each output.

    Args:
        node: convolution or matrix product of a quantised model; its constants are replaced in place.
    """

    def __init__(self, node: Any) -> None:
        self.node = node
        self.name: str = node.get_friendly_name()

    @property
    def end(self) -> Any:
        """Output of the layer, behind its bias."""
        return end_of(self.node)

    @property
    def source(self) -> Any:
        """Values that the layer's quantiser reads; the layer's input if it has no quantiser of its own."""
        found = own_quantiser(self.node)
        return self.node.input_value(0) if found is None else found.input_value(0)

    @property
    def most(self) -> int:
        """Largest integer of the weights: 127, or 64 where NNCF leaves out one bit against overflow."""
        return int(np.abs(_constants(self.node)[0].data.astype(np.int32)).max())

    def set_weights(self, integers: FloatArray, steps: FloatArray) -> None:
        """Replace integers and steps, both in the shape in which the layer reads its weights."""
        whole, scale = _constants(self.node)
        old, unit = whole.data, scale.data
        firsts = tuple(slice(0, 1) if side == 1 else slice(None) for side in unit.shape)
        chosen = np.broadcast_to(steps, integers.shape).reshape(old.shape)[firsts].reshape(unit.shape)
        _replace(whole, np.rint(integers).reshape(old.shape).astype(old.dtype))
        _replace(scale, chosen.astype(unit.dtype))

    @property
    def biases(self) -> FloatArray | None:
        """Bias of each output; None if nothing is added to the output."""
        constant = bias_of(self.node)
        return None if constant is None else np.array(constant.data, np.float32).reshape(-1)

    def set_biases(self, values: FloatArray) -> None:
        """Replace the biases; a layer without a bias stays without one."""
        constant = bias_of(self.node)
        if constant is not None:
            _replace(constant, values.reshape(constant.data.shape).astype(constant.data.dtype))

    @property
    def quantiser(self) -> Quantiser | None:
        """Range of the input; None if it is not one range for all channels, or not the layer's own."""
        found = own_quantiser(self.node)
        if found is None:
            return None
        low, high = (float(found.input_value(port).get_node().data.reshape(-1)[0]) for port in (1, 2))
        return Quantiser(low, high, int(found.get_attributes()["levels"]))

    def set_quantiser(self, value: Quantiser) -> None:
        """Replace the range of the input."""
        found: Any = own_quantiser(self.node)
        for port, end in enumerate((value.low, value.high) * 2, start=1):
            old = found.input_value(port).get_node()
            new = operations().constant(np.full_like(old.data, end))
            new.set_friendly_name(old.get_friendly_name())
            found.input(port).replace_source_output(new.output(0))

    def state(self) -> Sequence[Any]:
        """Return everything that a fit may change, for `restore`."""
        return [each.data.copy() for each in _constants(self.node)], self.biases, self.quantiser

    def restore(self, state: Sequence[Any]) -> None:
        """Put an earlier state back."""
        constants, biases, quantiser = state
        for old, data in zip(_constants(self.node), constants, strict=True):
            _replace(old, data)
        if biases is not None:
            self.set_biases(biases)
        if quantiser is not None:
            self.set_quantiser(quantiser)


def int8_layers(model: Any) -> list[Int8Layer]:
    """Return the layers of a quantised model whose weights are integers, in their order."""
    nodes = [node for node in model.get_ordered_ops() if node.get_type_name() in WEIGHTED]
    return [Int8Layer(node) for node in nodes if _constants(node)]


def end_of(node: Any) -> Any:
    """Return the output of a layer with weights, behind its bias if it has one."""
    reader = _only_reader(node)
    return node.output(0) if reader is None or bias_of(node) is None else reader.get_node().output(0)


def bias_of(node: Any) -> Any | None:
    """Return the constant with one value for each output that is added to a layer; None if there is none."""
    reader = _only_reader(node)
    if reader is None or reader.get_node().get_type_name() != "Add":
        return None
    other = reader.get_node().input_value(1 - reader.get_index()).get_node()
    output = node.get_output_partial_shape(0)
    from_end = 1 if node.get_type_name() == "MatMul" else len(output) - 1
    if other.get_type_name() != "Constant" or output[len(output) - from_end].is_dynamic:
        return None
    shape = list(other.get_output_shape(0))
    wanted = [1] * len(shape)
    if len(shape) < from_end:
        return None
    wanted[len(shape) - from_end] = output[len(output) - from_end].get_length()
    return other if shape == wanted else None


def own_quantiser(node: Any) -> Any | None:
    """Return the quantiser that a layer reads at once, if it has one range for all channels; else None."""
    found = node.input_value(0).get_node()
    if found.get_type_name() != "FakeQuantize":
        return None
    ranges = [found.input_value(port).get_node() for port in range(1, 5)]
    return found if all(each.get_type_name() == "Constant" and each.data.size == 1 for each in ranges) else None


def _constants(node: Any) -> tuple[Any, ...]:
    """Return the constants of integers and steps of a layer; empty if its weights have another form."""
    scaled = node.input_value(1).get_node()
    if scaled.get_type_name() == "Reshape":
        scaled = scaled.input_value(0).get_node()
    if scaled.get_type_name() != "Multiply":
        return ()
    converted, steps = (scaled.input_value(port).get_node() for port in (0, 1))
    if (converted.get_type_name(), steps.get_type_name()) != ("Convert", "Constant"):
        return ()
    integers = converted.input_value(0).get_node()
    is_i8 = integers.get_type_name() == "Constant" and integers.get_output_element_type(0).get_type_name() == "i8"
    return (integers, steps) if is_i8 else ()


def _only_reader(node: Any) -> Any | None:
    readers = list(node.output(0).get_target_inputs())
    return readers[0] if len(readers) == 1 else None


def _replace(old: Any, values: FloatArray) -> None:
    """Put a constant of new values in the place of another one, under its name."""
    new = operations().constant(values)
    new.set_friendly_name(old.get_friendly_name())
    for reader in old.output(0).get_target_inputs():
        reader.replace_source_output(new.output(0))
