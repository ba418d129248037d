"""Meaning of a graph's output: what training compares, and by how much two outputs disagree. PyTorch is not needed."""

from __future__ import annotations

from collections import defaultdict
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from brain_edge.spec import Activation, Value
from brain_edge_conversion.mending.relative import relative
from brain_edge_conversion.mending.watching import port_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from numpy.typing import NDArray

    from brain_edge.image.volume import FloatArray
    from brain_edge.spec import Stage
    from brain_edge_conversion.mending.watching import Port

    Decision = NDArray[Any]
    """Decision of every voxel of an output."""

SQUASHING: Final = frozenset({"Softmax", "Sigmoid", "Convert"})
"""Operations at the end of a graph that keep the order of logits."""
MIDDLE: Final = 0.5
"""Probability above which a voxel belongs to a region."""


class Meaning(StrEnum):
    """Meaning of the channels of an output."""

    CLASSES = "classes"
    """Channels exclude each other; the largest one decides."""
    REGIONS = "regions"
    """Each channel is a region of its own."""
    VALUES = "values"
    """The values themselves count, for example those of an image."""


class Target(Value, frozen=True):
    """Output of a graph.

    Attributes:
        meaning: meaning of the channels.
        is_probability: True if the graph ends in probabilities, False if it ends in logits.
    """

    meaning: Meaning
    is_probability: bool = False


IMAGE: Final = Target(Meaning.VALUES)
"""Output whose values count themselves."""


def target_of(stage: Stage, model: Any) -> Target:
    """Return the meaning of the output of a graph.

    Args:
        stage: stage of the graph.
        model: float model with one output.
    """
    last, activation = model.get_results()[0].input_value(0).get_node().get_type_name(), stage.network.activation
    if last == "Softmax" or activation is Activation.SOFTMAX:
        return Target(Meaning.CLASSES, last == "Softmax")
    if last == "Sigmoid" or activation is Activation.SIGMOID:
        return Target(Meaning.REGIONS, last == "Sigmoid")
    decides = bool(stage.after) and stage.after[0].decides and stage.network.channels_out > 1
    return Target(Meaning.CLASSES if decides else Meaning.VALUES)


def deciding_port(model: Any) -> Port:
    """Return the output of a node from which the output of a graph follows value by value: its logits."""
    found = model.get_results()[0].input_value(0)
    while found.get_node().get_type_name() in SQUASHING:
        found = found.get_node().input_value(0)
    return port_of(found)


def decided(output: FloatArray, target: Target) -> Decision:
    """Return what an output (N, C, ...) decides: the winning channel, the regions, or the values themselves."""
    if target.meaning is Meaning.CLASSES:
        return np.asarray(output.argmax(axis=1), np.uint8)
    if target.meaning is Meaning.REGIONS:
        return np.asarray(output > (MIDDLE if target.is_probability else 0.0))
    return output


def disagreement(got: Iterable[Decision], wanted: Sequence[Decision], target: Target) -> float:
    """Return by how much two graphs disagree, 0 to 1: 1 - Dice of the worst label, mean over the inputs that have it.

    Values that are no labels disagree by the relative error.

    Args:
        got: decisions of one graph (`decided`).
        wanted: decisions of the other graph for the same inputs.
        target: meaning of the outputs.
    """
    if target.meaning is Meaning.VALUES:
        return relative(got, wanted)
    by_label: dict[int, list[float]] = defaultdict(list)
    for have, want in zip(got, wanted, strict=True):
        for label, apart in _apart(have, want, target):
            by_label[label].append(apart)
    return max((float(np.mean(label)) for label in by_label.values()), default=0.0)


def _apart(got: Decision, wanted: Decision, target: Target) -> Iterator[tuple[int, float]]:
    """Yield 1 - Dice of each label that either of two decisions has."""
    is_classes = target.meaning is Meaning.CLASSES
    labels = range(1, 1 + int(max(got.max(), wanted.max()))) if is_classes else range(got.shape[1])
    for label in labels:
        have, want = ((each == label) if is_classes else each[:, label] for each in (got, wanted))
        total = int(have.sum()) + int(want.sum())
        if total:
            yield label, 1.0 - 2.0 * int((have & want).sum()) / total
