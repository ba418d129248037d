"""The execution plan: the cheapest way to the same labels, and what is known before an image is read."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import msgspec

from brain_edge.spec import Activation, WholeVolume
from brain_edge.steps import CropOrPadTo, GridStep, ResizeTo, Threshold

if TYPE_CHECKING:
    from collections.abc import Iterator

    from brain_edge.geometry import Shape
    from brain_edge.spec import ModelSpec, Stage


def without_activation(stage: Stage) -> Stage:
    """An equivalent stage that compares logits, where a stage compares sigmoids with a threshold at once.

    sigmoid(z) > t exactly where z > log(t / (1 - t)). That holds for a single pass over a whole volume; where
    probabilities are averaged (members, mirrorings, windows) or interpolated before the threshold, they are needed.
    """
    network, first = stage.network, stage.after[0]
    plain = network.passes == 1 and isinstance(network.execution, WholeVolume)
    if not (plain and network.activation is Activation.SIGMOID and isinstance(first, Threshold)):
        return stage
    if not 0 < first.above < 1:
        return stage
    on_logits = msgspec.structs.replace(first, above=math.log(first.above / (1 - first.above)))
    return msgspec.structs.replace(
        stage,
        network=msgspec.structs.replace(network, activation=Activation.NONE),
        after=(on_logits, *stage.after[1:]),
    )


def known_inputs(spec: ModelSpec) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Graphs whose input shape (1, C, I, J, K) does not depend on the image, in the order in which they run."""
    for stage in spec.stages:
        shape = _fixed_shape(stage)
        if shape is not None:
            yield from ((graph, (1, stage.network.channels_in, *shape)) for graph in stage.network.graphs)


def _fixed_shape(stage: Stage) -> Shape | None:
    """The spatial shape that a network sees, where the last change of grid fixes it."""
    if not isinstance(stage.network.execution, WholeVolume):
        return stage.network.execution.shape
    last = next((step for step in reversed(stage.before) if isinstance(step, GridStep)), None)
    return last.shape if isinstance(last, ResizeTo | CropOrPadTo) else None
