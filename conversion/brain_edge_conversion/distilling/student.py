"""A quantised graph in PyTorch, with weights, biases and ranges that a gradient can change."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import torch

from brain_edge_conversion.distilling.arithmetic import OPERATIONS, Step, rounded
from brain_edge_conversion.distilling.known import ENDS, data_of, needed
from brain_edge_conversion.mending.layers import Quantiser, bias_of, int8_layers, own_quantiser
from brain_edge_conversion.mending.watching import sized

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import Tensor

    from brain_edge.image.volume import FloatArray
    from brain_edge_conversion.mending.layers import Int8Layer

LARGEST: Final = 127
"""Largest integer that has a negative counterpart in 8 bits."""
WEIGHT_UNIT: Final = 0.2
"""Change of 1 of a weight, in steps of the integer. A weight moves by a whole step only where its gradient keeps its
sign: single steps at random undo the fit, which has balanced the rounding of the weights against each other."""
SHARE: Final = 0.01
"""Change of 1 of a bias, as a share of the usual output of its layer."""
FACTOR_UNIT: Final = 0.01
"""Change of 1 of a step: about one percent."""
RANGE_IN_SPREADS: Final = 8.0
"""Range of an activation divided by its usual value, roughly."""
LEAST: Final = 1e-12
"""Least unit."""


@dataclass(frozen=True)
class Interpreter:
    """A graph with static shapes, computed by PyTorch.

    Attributes:
        steps: operations in their order.
        constants: name of a constant -> value.
        image: name of the input.
        result: name of the node whose value is the output.
    """

    steps: tuple[Step, ...]
    constants: Mapping[str, Tensor]
    image: str
    result: str

    def __call__(self, image: Tensor, replaced: Mapping[str, Tensor], ranges: Mapping[str, Range]) -> Tensor:
        """Return the output for an input.

        Args:
            image: input.
            replaced: name of a node -> value that replaces its own.
            ranges: name of a quantiser -> its range, of which gradients are taken.
        """
        values = {**self.constants, self.image: image, **replaced}
        left = Counter(source for step in self.steps for source in step.sources)
        for step in self.steps:
            if step.name in ranges:
                values[step.name] = ranges[step.name](values[step.sources[0]])
            elif step.name not in replaced:
                values[step.name] = OPERATIONS[step.kind](step, *(values[source] for source in step.sources))
            left.subtract(step.sources)
            for source in {*step.sources} - {self.result}:
                if not left[source]:
                    del values[source]
        return values[self.result]


@dataclass(frozen=True)
class Range:
    """Range of a quantiser whose step can change; zero stays one of its values.

    Attributes:
        step: difference of two neighbouring values.
        ends: least and largest value, in steps.
        levels: number of values.
    """

    step: Tensor
    ends: tuple[float, float]
    levels: int

    def __call__(self, values: Tensor) -> Tensor:
        """Return the values as the quantiser passes them on."""
        return rounded(values, self.step, self.ends)


def interpreter_of(model: Any, shape: Sequence[int]) -> Interpreter:
    """Return a model for inputs of one shape in PyTorch.

    Args:
        model: model with one input, whose operations are known (`known.first_unknown`); it is not changed.
        shape: shape of the input.
    """
    nodes = needed(sized(model, shape))
    ends = {kind: [node for node in nodes if node.get_type_name() == kind] for kind in ENDS}
    return Interpreter(
        tuple(_step_of(node) for node in nodes if node.get_type_name() not in ENDS),
        {node.get_friendly_name(): _tensor(node.data) for node in ends["Constant"]},
        ends["Parameter"][0].get_friendly_name(),
        ends["Result"][0].input_value(0).get_node().get_friendly_name(),
    )


def _step_of(node: Any) -> Step:
    return Step(
        node.get_friendly_name(),
        node.get_type_name(),
        tuple(value.get_node().get_friendly_name() for value in data_of(node)),
        node.get_attributes(),
        tuple(node.get_output_shape(0)),
    )


def _tensor(values: Any) -> Tensor:
    is_half = values.dtype == np.float16
    return torch.from_numpy(np.array(values, np.float32 if is_half else values.dtype))


@dataclass(frozen=True)
class Part:
    """One constant that training changes.

    Attributes:
        base: value at the start.
        unit: size of a change of 1; broadcasts to the value.
        change: change in units, which the gradient is taken of.
        by_factor: True if the change is the logarithm of a factor, so that the value keeps its sign.
    """

    base: Tensor
    unit: Tensor
    change: Tensor
    by_factor: bool = False

    @property
    def value(self) -> Tensor:
        """Value with its change."""
        moved = self.unit * self.change
        return self.base * torch.exp(moved) if self.by_factor else self.base + moved


@dataclass(frozen=True)
class TrainedLayer:
    """Constants of one layer that training changes.

    Attributes:
        layer: layer of the quantised model.
        reads: name of the node behind the weights that the layer reads, and the shape of the weights there.
        most: largest integer of the weights.
        integers, steps: integers of the weights, and the value of 1 for each output.
        biases: biases, and the name of their constant; None if the layer has none.
    """

    layer: Int8Layer
    reads: tuple[str, tuple[int, ...]]
    most: int
    integers: Part
    steps: Part
    biases: tuple[str, Part] | None

    @property
    def parts(self) -> tuple[Part, ...]:
        """All parts."""
        return (self.integers, self.steps, *(() if self.biases is None else self.biases[1:]))

    def replaced(self) -> dict[str, Tensor]:
        """Return name of a node -> value, for the weights and the bias."""
        name, shape = self.reads
        whole = rounded(self.integers.value, torch.ones(()), (-float(self.most), float(self.most)))
        found = {name: (whole * self.steps.value).reshape(shape)}
        if self.biases is not None:
            found[self.biases[0]] = self.biases[1].value
        return found


class Student:
    """All constants of a quantised graph that training changes.

    Args:
        model: quantised model; `write` replaces its constants.
    """

    def __init__(self, model: Any) -> None:
        self._model = model  # a layer finds its bias only while its model is there
        layers = int8_layers(model)
        self.layers = tuple(_trained_layer(layer) for layer in layers)
        self._read = {layer.name: name for layer in layers if (name := _quantiser_name(layer)) is not None}
        quantisers = {name: layer.quantiser for layer in layers if (name := self._read.get(layer.name)) is not None}
        self._quantisers = {name: found for name, found in quantisers.items() if found is not None and found.step > 0}
        self.ranges = {
            name: _part(np.float32(found.step), FACTOR_UNIT, by_factor=True) for name, found in self._quantisers.items()
        }

    @property
    def changes(self) -> list[Tensor]:
        """Changes of all parts, in the order of the graph."""
        parts = [part for each in self.layers for part in each.parts]
        return [part.change for part in (*parts, *self.ranges.values())]

    def outputs(self, interpreter: Interpreter, image: Tensor) -> Tensor:
        """Return the outputs of the graph with the present changes."""
        replaced = {name: value for layer in self.layers for name, value in layer.replaced().items()}
        return interpreter(image, replaced, {name: self._range(name) for name in self.ranges})

    def write(self) -> None:
        """Put the present values into the model."""
        with torch.no_grad():
            for each in self.layers:
                self._write(each)

    def _write(self, each: TrainedLayer) -> None:
        whole = torch.round(each.integers.value).clamp(-each.most, each.most)
        name = self._read.get(each.layer.name)
        each.layer.restore(
            (
                [whole.numpy().astype(np.int8), each.steps.value.numpy().astype(each.layer.state()[0][1].dtype)],
                None if each.biases is None else each.biases[1].value.numpy().reshape(-1),
                None if name not in self.ranges else self._written(name),
            )
        )

    def _range(self, name: str) -> Range:
        found = self._quantisers[name]
        below = round(-found.low / found.step)
        return Range(self.ranges[name].value, (-float(below), float(found.levels - 1 - below)), found.levels)

    def _written(self, name: str) -> Quantiser:
        found = self._range(name)
        step = float(found.step)
        return Quantiser(found.ends[0] * step, found.ends[1] * step, found.levels)


def _trained_layer(layer: Int8Layer) -> TrainedLayer:
    (integers, steps), biases, quantiser = layer.state()
    read = layer.node.input_value(1)
    added = bias_of(layer.node)
    unit = 0.0 if biases is None else _bias_unit(integers, steps, biases, quantiser)
    return TrainedLayer(
        layer,
        (read.get_node().get_friendly_name(), tuple(read.get_shape())),
        min(layer.most, LARGEST),
        _part(integers, WEIGHT_UNIT),
        _part(steps, FACTOR_UNIT, by_factor=True),
        None if added is None else (added.get_friendly_name(), _part(added.data, unit)),
    )


def _bias_unit(integers: FloatArray, steps: FloatArray, biases: FloatArray, quantiser: Quantiser | None) -> float:
    """Return a small share of the usual output of a layer."""
    if quantiser is None:
        return max(SHARE * float(np.abs(biases).mean()), LEAST)
    weights = float(np.sqrt(np.sum(np.square(integers * steps.astype(np.float32))) / len(biases)))
    return max(SHARE * weights * (quantiser.high - quantiser.low) / RANGE_IN_SPREADS, LEAST)


def _part(base: Any, unit: float, *, by_factor: bool = False) -> Part:
    start = torch.from_numpy(np.array(base, np.float32))
    return Part(start, torch.tensor(unit), torch.zeros_like(start, requires_grad=True), by_factor)


def _quantiser_name(layer: Int8Layer) -> str | None:
    found = own_quantiser(layer.node)
    return None if found is None else str(found.get_friendly_name())
